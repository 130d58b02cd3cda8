"""Chunks with their vectors: stored batch by batch, deleted in short statements. Nothing here commits."""

from collections.abc import Sequence
from typing import Any

import asyncpg
from pgvector import HalfVector
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.engine import copy_rows
from adapters.postgres.tables import chunks
from domain.chunks import PlannedChunk
from domain.documents import IngestionRef
from domain.ids import IngestionId, chunk_id
from domain.ports import Vectors

AlreadyStored = asyncpg.UniqueViolationError
"""Another attempt stored one of these chunks; the transaction is lost."""

_COLUMNS = [
    "ingestion_id", "ordinal", "id", "owner_id", "bot_id", "document_id", "content",
    "page_from", "page_to", "page_starts", "char_start", "char_end", "heading_path", "embedding",
]  # fmt: skip

_DELETE_SOME = text(
    "DELETE FROM chunks WHERE ctid = ANY (ARRAY (SELECT ctid FROM chunks WHERE ingestion_id = :ingestion LIMIT :limit))"
)


async def store(
    connection: AsyncConnection, ref: IngestionRef, planned: Sequence[PlannedChunk], vectors: Vectors
) -> None:
    """Write one batch by COPY. Raises `AlreadyStored`."""
    rows: list[tuple[Any, ...]] = [
        (
            ref.ingestion_id, chunk.ordinal, chunk_id(ref.ingestion_id, chunk.ordinal),
            ref.owner_id, ref.bot_id, ref.document_id, chunk.content, chunk.page_from, chunk.page_to,
            list(chunk.page_starts), chunk.char_start, chunk.char_end, list(chunk.heading_path), HalfVector(vector),
        )
        for chunk, vector in zip(planned, vectors, strict=True)
    ]  # fmt: skip
    await copy_rows(connection, "chunks", _COLUMNS, rows)


async def stored_ordinals(connection: AsyncConnection, ingestion: IngestionId, within: range) -> set[int]:
    """Tell which of these chunks are stored."""
    query = select(chunks.c.ordinal).where(
        chunks.c.ingestion_id == ingestion, chunks.c.ordinal >= within.start, chunks.c.ordinal < within.stop
    )
    return set((await connection.execute(query)).scalars())


async def count(connection: AsyncConnection, ingestion: IngestionId) -> int:
    """Count an ingestion's chunks."""
    query = select(func.count()).where(chunks.c.ingestion_id == ingestion)
    return int((await connection.execute(query)).scalar_one())


async def delete_all(connection: AsyncConnection, ingestion: IngestionId) -> None:
    """Delete an ingestion's chunks."""
    await connection.execute(delete(chunks).where(chunks.c.ingestion_id == ingestion))


async def delete_some(connection: AsyncConnection, ingestion: IngestionId, *, limit: int) -> int:
    """Delete some of an ingestion's chunks; answers how many."""
    result = await connection.execute(_DELETE_SOME, {"ingestion": ingestion, "limit": limit})
    return int(result.rowcount)
