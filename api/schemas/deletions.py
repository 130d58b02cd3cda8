"""Deletions on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import Row

from api.schemas.base import Answer


class Deletion(Answer):
    """The receipt of a deletion."""

    id: Annotated[UUID, Field(description="Of what is deleted.")]
    kind: Literal["bot", "document"]
    bot_id: UUID
    document_id: UUID | None
    status: Literal["pending", "complete"]
    documents: Annotated[int, Field(description="Documents removed so far.")]
    chunks: Annotated[int, Field(description="Chunks removed so far.")]
    created_at: datetime
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
            chunks=row.chunks,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
