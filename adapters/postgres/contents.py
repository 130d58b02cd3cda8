"""Which document of a bot holds which bytes: the same bytes are one document. Nothing here commits."""

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import document_contents, documents, ingestions
from domain.documents import IngestionStatus
from domain.ids import DocumentId


async def release_unused(connection: AsyncConnection, document: DocumentId) -> None:
    """Forget bytes that are neither the active version's nor the newest accepted one's.

    The newest counts as long as it may still become active: once it has ended without success while
    an earlier version answers, only another upload brings its bytes back.
    """
    active = ingestions.c.id == documents.c.active_ingestion_id
    ended = ingestions.c.status.in_((IngestionStatus.FAILED, IngestionStatus.CANCELLED))
    newest = (ingestions.c.id == documents.c.current_ingestion_id) & (
        documents.c.active_ingestion_id.is_(None) | ~ended
    )
    used = (
        select(ingestions.c.sha256)
        .join(documents, documents.c.id == ingestions.c.document_id)
        .where(documents.c.id == document, or_(active, newest))
    )
    await connection.execute(
        delete(document_contents).where(
            document_contents.c.document_id == document, document_contents.c.sha256.not_in(used)
        )
    )
