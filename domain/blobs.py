"""Names of blobs. Everything of a document lies under one prefix, so that a deletion finds it."""

from domain.ids import DocumentId, IngestionId

DOCUMENTS = "documents/"
"""The prefix of all documents."""


def document_prefix(document_id: DocumentId) -> str:
    """All versions of a document."""
    return f"documents/{document_id}/"


def ingestion_prefix(document_id: DocumentId, ingestion_id: IngestionId) -> str:
    """All of one version."""
    return f"documents/{document_id}/{ingestion_id}/"


def source_key(document_id: DocumentId, ingestion_id: IngestionId) -> str:
    """The bytes as they were uploaded."""
    return f"documents/{document_id}/{ingestion_id}/source"


def pages_key(document_id: DocumentId, ingestion_id: IngestionId) -> str:
    """The extracted text, one JSON object a page and line."""
    return f"documents/{document_id}/{ingestion_id}/derived/pages.jsonl"


def shard_key(document_id: DocumentId, ingestion_id: IngestionId, shard: int) -> str:
    """Planned chunks `shard * SHARD_CHUNKS` and on, one JSON object a line."""
    return f"documents/{document_id}/{ingestion_id}/derived/plan/{shard:06d}.jsonl"


def derived_prefix(document_id: DocumentId, ingestion_id: IngestionId) -> str:
    """What an ingestion made for itself: pages and plan."""
    return f"documents/{document_id}/{ingestion_id}/derived/"
