"""Imports on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field
from sqlalchemy import Row

from adapters.postgres.imports import Counts
from api.schemas.base import Answer
from api.schemas.documents import LastError
from domain.documents import DocumentStatus
from domain.imports import ImportStatus, ItemOutcome

_UNFINISHED = (DocumentStatus.PENDING, DocumentStatus.PROCESSING)

_IMPORT: dict[str, Any] = {
    "id": "0199f0c4-b111-7c22-8d33-4e5f6a7b8c9d",
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "name": "handbooks.zip",
    "status": "running",
    "counts": {
        "files": 1200,
        "accepted": 1190,
        "duplicates": 8,
        "refused": 2,
        "pending": 400,
        "processing": 128,
        "ready": 660,
        "needs_attention": 2,
        "failed": 0,
        "cancelled": 0,
    },
    "chunks": 7260,
    "documents_per_second": 61.5,
    "estimated_seconds_left": 9,
    "cancel_requested": False,
    "last_error": None,
    "workflow": {
        "id": "import/0199f0c4-b111-7c22-8d33-4e5f6a7b8c9d",
        "run_id": "0199f0c4-b333-7c22-8d33-4e5f6a7b8c9d",
        "url": "http://127.0.0.1:8233/namespaces/default/workflows/…/history",
    },
    "created_at": "2026-11-21T12:00:00Z",
    "updated_at": "2026-11-21T12:00:12Z",
    "finished_at": None,
}


class ImportCounts(Answer):
    """Files that were given, and what has become of the documents that they are now."""

    files: Annotated[int, Field(description="Of an archive: so far.")]
    accepted: int
    duplicates: int
    refused: int
    pending: int
    processing: int
    ready: int
    needs_attention: int
    failed: int
    cancelled: int


class ImportWorkflow(Answer):
    """Where to look in the workflow engine."""

    id: str
    run_id: str | None
    url: str | None


class Import(Answer):
    """Many files that came at once. It is `complete` when nothing of it waits or runs; `counts` tell how it went."""

    model_config = ConfigDict(json_schema_extra={"example": _IMPORT})

    id: UUID
    bot_id: UUID
    name: str
    status: ImportStatus
    counts: ImportCounts
    chunks: Annotated[int, Field(description="Chunks of its ready documents.")]
    documents_per_second: Annotated[float | None, Field(description="In the last half minute.")]
    estimated_seconds_left: Annotated[int | None, Field(description="At this pace.")]
    cancel_requested: bool
    last_error: LastError | None
    workflow: ImportWorkflow
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any], counts: Counts, workflow: ImportWorkflow) -> "Import":
        """Render a row with what was counted."""
        items, documents = counts.items, counts.documents
        left = sum(documents.get(status, 0) for status in _UNFINISHED)
        return cls(
            **{name: getattr(row, name) for name in _PLAIN},
            counts=ImportCounts(
                files=sum(items.values()),
                accepted=items.get(ItemOutcome.ACCEPTED, 0),
                duplicates=items.get(ItemOutcome.DUPLICATE, 0),
                refused=items.get(ItemOutcome.REFUSED, 0),
                **{status.value: documents.get(status, 0) for status in _COUNTED},
            ),
            chunks=counts.chunks,
            documents_per_second=round(counts.rate, 1) if counts.rate else None,
            estimated_seconds_left=round(left / counts.rate) if left and counts.rate else None,
            cancel_requested=row.cancel_requested_at is not None,
            last_error=LastError.of(row),
            workflow=workflow,
        )


_PLAIN = ("id", "bot_id", "name", "status", "created_at", "updated_at", "finished_at")
_COUNTED = tuple(status for status in DocumentStatus if status is not DocumentStatus.DELETING)

_ITEM: dict[str, Any] = {
    "position": 17,
    "name": "setup.exe",
    "size_bytes": 20480,
    "outcome": "refused",
    "document_id": None,
    "last_error": {"code": "unsupported_format", "message": "The file is binary, of a format that is not read."},
}


class ImportItem(Answer):
    """One file that was given, at its place. A duplicate names the document that has its bytes."""

    model_config = ConfigDict(json_schema_extra={"example": _ITEM})

    position: int
    name: str
    size_bytes: int
    outcome: ItemOutcome
    document_id: UUID | None
    last_error: LastError | None

    @classmethod
    def of(cls, row: Row[Any]) -> "ImportItem":
        """Render an item's row."""
        plain = cls.model_fields.keys() - {"last_error"}
        return cls(**{name: getattr(row, name) for name in plain}, last_error=LastError.of(row))
