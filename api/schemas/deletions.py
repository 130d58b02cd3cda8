"""Deletions on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from sqlalchemy import Row

from api.schemas.base import Answer

_RECEIPT: dict[str, Any] = {
    "id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "kind": "document",
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "status": "complete",
    "documents": 1,
    "documents_total": 1,
    "chunks": 807,
    "pages": 300,
    "blobs": 1,
    "bytes": 1048576,
    "conversations": 0,
    "created_at": "2026-11-21T12:00:00Z",
    "started_at": "2026-11-21T12:00:00Z",
    "finished_at": "2026-11-21T12:00:01Z",
}


class Deletion(Answer):
    """The receipt of a deletion."""

    model_config = ConfigDict(json_schema_extra={"example": _RECEIPT})

    id: Annotated[UUID, Field(description="Of what is deleted.")]
    kind: Literal["bot", "document"]
    bot_id: UUID
    document_id: UUID | None
    status: Literal["pending", "complete"]
    documents: Annotated[int, Field(description="Documents removed so far.")]
    documents_total: Annotated[int | None, Field(description="Documents there were when it began; null until then.")]
    chunks: Annotated[int, Field(description="Chunks removed so far, each with its vector.")]
    pages: Annotated[int, Field(description="Pages of the documents removed, of all their versions.")]
    blobs: Annotated[int, Field(description="Files removed; those of an attempt that crashed may not be counted.")]
    bytes: Annotated[int, Field(description="Of those files.")]
    conversations: Annotated[int, Field(description="Conversations removed with a bot.")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row[tuple[object, ...]]) -> "Deletion":
        """Render a receipt's row."""
        return cls(
            id=row.id,
            kind="bot" if row.document_id is None else "document",
            bot_id=row.bot_id,
            document_id=row.document_id,
            status=row.status,
            documents=row.documents,
            documents_total=row.documents_total,
            chunks=row.chunks,
            pages=row.pages,
            blobs=row.blobs,
            bytes=row.bytes,
            conversations=row.conversations,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
