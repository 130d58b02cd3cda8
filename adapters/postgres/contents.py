"""Which document of a bot holds which bytes: the same bytes are one document. Nothing here commits."""

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import document_contents, documents, ingestions
from domain.ids import DocumentId


async def release_unused(connection: AsyncConnection, document: DocumentId) -> None:
    """Forget bytes that are neither the active version's nor the newest accepted one's."""
    used = (
        select(ingestions.c.sha256)
        .join(
            documents,
            or_(ingestions.c.id == documents.c.active_ingestion_id, ingestions.c.id == documents.c.current_ingestion_id),
        )
        .where(documents.c.id == document)
    )
    await connection.execute(
        delete(document_contents).where(
            document_contents.c.document_id == document, document_contents.c.sha256.not_in(used)
        )
    )
