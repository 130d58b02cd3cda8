"""Segments of a large bot's keywords: postings of some of its versions, which do not change once they answer.

A segment is written whole, by one transaction, and replaced whole. Versions that are in none are scanned by the
search, so that what it finds never depends on how fresh the segments are. Nothing here commits.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, exists, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
from adapters.postgres.engine import copy_rows
from adapters.postgres.tables import (
    bot_indexes,
    documents,
    ingestions,
    keyword_segment_versions,
    keyword_segments,
)
from domain.documents import DocumentStatus
from domain.ids import BotId, DocumentId, IngestionId
from domain.indexes import LARGEST_SEGMENT, SEGMENT_CHUNKS, Coverage, IndexState, Version

# Of each bot with an index: what answers, what of it is in segments, what the segments have altogether.
_COVERAGE = f"""
    SELECT i.bot_id, i.owner_id,
           (SELECT coalesce(sum(d.chunk_count), 0) FROM documents d
            WHERE d.bot_id = i.bot_id AND d.active_ingestion_id IS NOT NULL AND d.status <> 'deleting'
              AND d.chunk_count <= {LARGEST_SEGMENT}) AS answering,
           (SELECT coalesce(sum(d.chunk_count), 0)
            FROM documents d JOIN keyword_segment_versions v ON v.ingestion_id = d.active_ingestion_id
            WHERE d.bot_id = i.bot_id AND d.status <> 'deleting') AS covered,
           (SELECT coalesce(sum(s.chunks), 0) FROM keyword_segments s WHERE s.bot_id = i.bot_id) AS in_segments
    FROM bot_indexes i
"""  # noqa: S608  (a constant)
# Whole enough to be left as it is: half full or more, and most of it answers.
_UNSOUND = text(
    """
    SELECT d.active_ingestion_id AS id, d.chunk_count AS chunks
    FROM documents d
    LEFT JOIN keyword_segment_versions v ON v.ingestion_id = d.active_ingestion_id
    LEFT JOIN (
        SELECT s.id, s.chunks, sum(a.chunk_count) AS answering
        FROM keyword_segments s
        JOIN keyword_segment_versions w ON w.segment_id = s.id
        JOIN documents a ON a.active_ingestion_id = w.ingestion_id AND a.bot_id = s.bot_id AND a.status <> 'deleting'
        WHERE s.bot_id = :bot
        GROUP BY s.id
    ) AS sound ON sound.id = v.segment_id AND sound.chunks >= :half AND sound.answering >= 0.8 * sound.chunks
    WHERE d.bot_id = :bot AND d.active_ingestion_id IS NOT NULL AND d.status <> 'deleting' AND sound.id IS NULL
    ORDER BY d.active_ingestion_id
    """
)
_SENT = text(
    """
    SELECT ingestion_id, ordinal, sparsevec_send(keywords) AS sent
    FROM chunk_keywords WHERE ingestion_id = ANY (:versions)
    """
)


async def coverage(connection: AsyncConnection, bot: BotId) -> Coverage:
    """Tell how much of a bot is in segments. All of it is missing where there are none."""
    row = (await connection.execute(text(f"{_COVERAGE} WHERE i.bot_id = :bot"), {"bot": bot})).one_or_none()
    return Coverage(1, 0, 0) if row is None else _coverage(row)


async def worn(connection: AsyncConnection, *, before: datetime, limit: int) -> list[Row[Any]]:
    """Find bots whose segments are to be written anew, with nothing done about it since `before`."""
    query = text(f"{_COVERAGE} WHERE i.state = :valid AND i.updated_at < :before LIMIT :limit")
    rows = await connection.execute(query, {"valid": IndexState.VALID, "before": before, "limit": limit})
    return [row for row in rows if _coverage(row).is_worn]


async def to_write(connection: AsyncConnection, bot: BotId) -> list[Version]:
    """List the versions that answer and are in no segment that is sound, the oldest first."""
    rows = await connection.execute(_UNSOUND, {"bot": bot, "half": SEGMENT_CHUNKS // 2})
    return [Version(IngestionId(row.id), row.chunks or 0) for row in rows]


async def keywords_of(connection: AsyncConnection, versions: Sequence[Version]) -> list[tuple[IngestionId, int, bytes]]:
    """Read version, ordinal and keywords of these versions' chunks."""
    rows = await connection.execute(_SENT, {"versions": [version.id for version in versions]})
    return [(IngestionId(row.ingestion_id), row.ordinal, row.sent) for row in rows]


async def replace(
    connection: AsyncConnection, bot: BotId, versions: Sequence[Version], buckets: Iterable[tuple[int, bytes]]
) -> bool:
    """Write a segment of these versions. False, and nothing written, where one of them does not answer any more.

    Their documents are held meanwhile: one that is about to be deleted waits, and then takes the segment with it.
    """
    index = select(bot_indexes.c.bot_id).where(
        bot_indexes.c.bot_id == bot, bot_indexes.c.state.in_((IndexState.BUILDING, IndexState.VALID))
    )
    if (await connection.execute(index.with_for_update())).one_or_none() is None:
        return False
    ids = [version.id for version in versions]
    answering = select(documents.c.id).where(
        documents.c.bot_id == bot,
        documents.c.active_ingestion_id.in_(ids),
        documents.c.status != DocumentStatus.DELETING,
    )
    held = (await connection.execute(answering.order_by(documents.c.id).with_for_update(read=True))).all()
    if len(held) < len(versions):
        return False
    taken = delete(keyword_segment_versions).where(keyword_segment_versions.c.ingestion_id.in_(ids))
    await connection.execute(taken)
    segment = new_id()
    size = sum(version.chunks for version in versions)
    await connection.execute(insert(keyword_segments).values(id=segment, bot_id=bot, chunks=size))
    firsts = _firsts(versions)
    await copy_rows(
        connection, "keyword_segment_versions", ["ingestion_id", "segment_id", "first", "chunks"],
        [(version.id, segment, firsts[version.id], version.chunks) for version in versions],
    )  # fmt: skip
    await copy_rows(
        connection,
        "keyword_postings",
        ["segment_id", "bucket", "packed"],
        [(segment, bucket, packed) for bucket, packed in buckets],
    )
    return True


async def drop_unused(connection: AsyncConnection, bot: BotId) -> None:
    """Delete the segments of which no version answers any more, as each one was replaced or is in another segment."""
    used = exists().where(
        keyword_segment_versions.c.segment_id == keyword_segments.c.id,
        documents.c.active_ingestion_id == keyword_segment_versions.c.ingestion_id,
        documents.c.bot_id == bot,
        documents.c.status != DocumentStatus.DELETING,
    )
    await connection.execute(delete(keyword_segments).where(keyword_segments.c.bot_id == bot, ~used))


async def drop_some(connection: AsyncConnection, bot: BotId) -> bool:
    """Delete one of a bot's segments; False where there is none."""
    one = select(keyword_segments.c.id).where(keyword_segments.c.bot_id == bot).limit(1)
    gone = await connection.execute(delete(keyword_segments).where(keyword_segments.c.id.in_(one)))
    return bool(gone.rowcount)


async def drop_of_documents(connection: AsyncConnection, targets: Sequence[DocumentId]) -> None:
    """Delete the segments that hold terms of these documents; the others' are scanned until they are written anew."""
    holding = (
        select(keyword_segment_versions.c.segment_id)
        .join(ingestions, ingestions.c.id == keyword_segment_versions.c.ingestion_id)
        .where(ingestions.c.document_id.in_(targets))
    )
    await connection.execute(delete(keyword_segments).where(keyword_segments.c.id.in_(holding)))


def _firsts(versions: Sequence[Version]) -> dict[IngestionId, int]:
    firsts, at = {}, 0
    for version in versions:
        firsts[version.id] = at
        at += version.chunks
    return firsts


def _coverage(row: Row[Any]) -> Coverage:
    return Coverage(int(row.answering), int(row.covered), int(row.in_segments))
