"""Names of blobs. Everything of a document lies under one prefix, so that a deletion finds it."""

from domain.ids import DocumentId, FileId, ImportId, IngestionId

DOCUMENTS = "documents/"
"""The prefix of all documents."""
IMPORTS = "imports/"
"""The prefix of all imports."""
FILES = "files/"
"""The prefix of all files that are no documents yet."""


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


def recognized_key(document_id: DocumentId, ingestion_id: IngestionId, page: int) -> str:
    """What recognition read on a page's image, one JSON object."""
    return f"documents/{document_id}/{ingestion_id}/derived/recognized/{page:06d}.json"


def shard_key(document_id: DocumentId, ingestion_id: IngestionId, shard: int) -> str:
    """Planned chunks `shard * SHARD_CHUNKS` and on, one JSON object a line."""
    return f"documents/{document_id}/{ingestion_id}/derived/plan/{shard:06d}.jsonl"


def derived_prefix(document_id: DocumentId, ingestion_id: IngestionId) -> str:
    """What an ingestion made for itself: pages and plan."""
    return f"documents/{document_id}/{ingestion_id}/derived/"


def import_prefix(import_id: ImportId) -> str:
    """All that an import keeps for itself; its documents' bytes lie under theirs."""
    return f"imports/{import_id}/"


def archive_key(import_id: ImportId) -> str:
    """The archive as it was uploaded, until it is unpacked."""
    return f"imports/{import_id}/upload/archive"


def archive_prefix(import_id: ImportId) -> str:
    """The archive alone, without the plans of packs."""
    return f"imports/{import_id}/upload/"


def packs_prefix(import_id: ImportId) -> str:
    """The plans of all packs."""
    return f"imports/{import_id}/packs/"


def pack_prefix(import_id: ImportId, pack: int) -> str:
    """All plans of one pack."""
    return f"imports/{import_id}/packs/{pack:06d}/"


def pack_key(import_id: ImportId, pack: int, plan: str) -> str:
    """One plan of a pack, named by its digest: one JSON object a document and line."""
    return f"imports/{import_id}/packs/{pack:06d}/{plan}.jsonl"


def file_prefix(file_id: FileId) -> str:
    """All of a file; the documents that it became have bytes of their own."""
    return f"files/{file_id}/"


def file_key(file_id: FileId) -> str:
    """The bytes as they were uploaded."""
    return f"files/{file_id}/source"
