"""Chunks as readers see them: those of the version that answers."""

from typing import Any

from sqlalchemy import Column, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, chunks, documents
from domain.documents import DocumentStatus
from domain.errors import NotFound
from domain.ids import ChunkId, IngestionId, UserId

_SHOWN: list[Column[Any]] = [column for column in chunks.c if column.name != "embedding"]
_LEAST_CHARACTERS = 100  # of a chunk, as a rule: so many neighbours are read that short ones reach far enough


async def page(connection: AsyncConnection, ingestion: IngestionId, window: Window) -> list[Row[Any]]:
    """List the chunks of one ingestion."""
    query = select(*_SHOWN).where(chunks.c.ingestion_id == ingestion)
    return list(await connection.execute(keyset(query, [chunks.c.ordinal], window)))


async def in_context(
    connection: AsyncConnection, owner: UserId, chunk: ChunkId, *, reach: int
) -> tuple[Row[Any], list[Row[Any]]]:
    """Read a chunk, and its neighbours in their order with itself among them. Raises `NotFound`."""
    query: Select[Any] = (
        select(*_SHOWN, documents.c.name.label("document_name"))
        .join(documents, documents.c.active_ingestion_id == chunks.c.ingestion_id)
        .join(bots, bots.c.id == documents.c.bot_id)
        .where(chunks.c.id == chunk, chunks.c.owner_id == owner, documents.c.owner_id == owner)
        .where(documents.c.status != DocumentStatus.DELETING, bots.c.deleting_at.is_(None))
    )
    row: Row[Any] | None = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(
            "You have no chunk of this id. The version that it was of may have been replaced or deleted: a citation "
            "keeps its quotation."
        )
    beside = reach // _LEAST_CHARACTERS + 1
    near: Select[Any] = (
        select(chunks.c.char_start, chunks.c.content)
        .where(chunks.c.ingestion_id == row.ingestion_id)
        .where(chunks.c.ordinal.between(row.ordinal - beside, row.ordinal + beside))
        .order_by(chunks.c.ordinal)
    )
    return row, list(await connection.execute(near))
