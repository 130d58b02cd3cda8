"""Chunks with their vectors: stored batch by batch, deleted in short statements. Nothing here commits."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import asyncpg
from pgvector import HalfVector
from sqlalchemy import ARRAY, LargeBinary, bindparam, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import keywords
from adapters.postgres.engine import copy_rows
from adapters.postgres.tables import chunks, documents
from domain import terms
from domain.chunks import PlannedChunk
from domain.documents import IngestionRef
from domain.embedding import Refused, content_digest
from domain.ids import BotId, DocumentId, IngestionId, UserId, chunk_id
from domain.ports import Vectors

AlreadyStored = asyncpg.UniqueViolationError
"""Another attempt stored one of these chunks; the transaction is lost."""

_COLUMNS = [
    "ingestion_id", "ordinal", "id", "owner_id", "bot_id", "document_id", "content",
    "page_from", "page_to", "page_starts", "char_start", "char_end", "heading_path", "content_sha256", "embedding",
    "embedding_error",
]  # fmt: skip
_KEYWORD_COLUMNS = ["ingestion_id", "ordinal", "keywords"]

_DELETE_SOME = text(
    "DELETE FROM chunks WHERE ctid = ANY (ARRAY (SELECT ctid FROM chunks WHERE ingestion_id = :ingestion LIMIT :limit))"
)


# As a rule there is nothing to add, and so nothing is written.
_SPOKEN = text(
    """
    UPDATE bots SET languages = ARRAY (SELECT DISTINCT unnest(languages || CAST(:languages AS text[])) ORDER BY 1)
    WHERE id = :bot AND NOT languages @> CAST(:languages AS text[])
    """
)

# One probe of the index a text: a text that ten thousand chunks have costs no more than one that a single chunk has.
_KNOWN = text(
    """
    SELECT wanted.digest, known.embedding
    FROM unnest(:digests) AS wanted (digest) CROSS JOIN LATERAL (
        SELECT c.embedding
        FROM chunks c JOIN ingestions i ON i.id = c.ingestion_id
        WHERE c.owner_id = :owner AND c.content_sha256 = wanted.digest AND c.embedding IS NOT NULL
          AND i.embedding_model = :model
        LIMIT 1
    ) AS known
    """
).bindparams(bindparam("digests", type_=ARRAY(LargeBinary)))


async def store(
    connection: AsyncConnection,
    ref: IngestionRef,
    planned: Sequence[PlannedChunk],
    results: Iterable[Vectors | Refused],
) -> None:
    """Write one batch by COPY; each vector has shape (width,). Raises `AlreadyStored`."""
    await store_many(connection, [(ref, planned, results)])


async def store_many(
    connection: AsyncConnection,
    parts: Iterable[tuple[IngestionRef, Sequence[PlannedChunk], Iterable[Vectors | Refused]]],
) -> None:
    """Write chunks of several documents by one COPY. Raises `AlreadyStored`."""
    parts = list(parts)
    names = await _names(connection, {ref.document_id for ref, _, _ in parts})
    spoken: dict[BotId, set[str]] = defaultdict(set)
    rows: list[tuple[Any, ...]] = []
    worded: list[tuple[Any, ...]] = []
    for ref, planned, results in parts:
        for chunk, result in zip(planned, results, strict=True):
            found = terms.of_chunk(names.get(ref.document_id, ""), chunk.heading_path, chunk.content)
            spoken[ref.bot_id].add(found.language)
            rows.append(
                (
                    ref.ingestion_id, chunk.ordinal, chunk_id(ref.ingestion_id, chunk.ordinal),
                    ref.owner_id, ref.bot_id, ref.document_id, chunk.content, chunk.page_from, chunk.page_to,
                    list(chunk.page_starts), chunk.char_start, chunk.char_end, list(chunk.heading_path),
                    content_digest(chunk.content), *_result(result),
                )
            )  # fmt: skip
            worded.append((ref.ingestion_id, chunk.ordinal, keywords.encode(found.weights)))
    await copy_rows(connection, "chunks", _COLUMNS, rows)
    await copy_rows(connection, "chunk_keywords", _KEYWORD_COLUMNS, worded)
    for bot, languages in spoken.items():
        await connection.execute(_SPOKEN, {"bot": bot, "languages": sorted(languages)})


async def _names(connection: AsyncConnection, ids: Collection[DocumentId]) -> dict[DocumentId, str]:
    query = select(documents.c.id, documents.c.name).where(documents.c.id.in_(ids))
    return {DocumentId(row.id): row.name for row in await connection.execute(query)}


def _result(result: Vectors | Refused) -> tuple[HalfVector | None, str | None]:
    return (None, result.code) if isinstance(result, Refused) else (HalfVector(result), None)


async def known_vectors(
    connection: AsyncConnection, owner: UserId, model: str, digests: Collection[bytes]
) -> dict[bytes, Vectors]:
    """Find vectors of these texts among the owner's own chunks, embedded by this model; each has shape (width,).

    There is no other cache: a vector is known as long as a chunk has it.
    """
    rows = await connection.execute(_KNOWN, {"owner": owner, "model": model, "digests": list(digests)})
    return {bytes(row.digest): row.embedding.to_numpy().astype("float32") for row in rows}


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
