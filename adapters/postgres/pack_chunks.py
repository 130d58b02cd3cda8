"""What is planned, stored and published of the documents of a pack, all of them in few statements. Nothing here commits.

A write reaches a document only while its ingestion is `running`, in this pack and under the epoch that
the writer read. Documents are locked first, in the order of their ids.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import chunks
from adapters.postgres.packs import in_pack, lock_documents, notify
from adapters.postgres.tables import chunks as chunk_rows
from adapters.postgres.tables import ingestions
from domain.chunks import PlannedChunk
from domain.documents import Format, IngestionRef
from domain.embedding import Refused
from domain.ids import DocumentId, IngestionId
from domain.imports import share_tokens
from domain.ingestion import Plan
from domain.ports import Vectors
from domain.steps import PackRef

_PLANNED = text(
    """
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:epochs AS int[]), CAST(:digests AS bytea[]), CAST(:chunks AS int[]),
            CAST(:shards AS int[]), CAST(:pages AS int[])
        ) AS given(id, epoch, digest, chunks, shards, pages)
    ), planned AS (
        UPDATE ingestions i SET planned_chunks = given.chunks, plan_digest = given.digest, shards = given.shards,
               embedding_model = :model, batch_size = :batch_size, updated_at = :now
        FROM given
        WHERE i.id = given.id AND i.epoch = given.epoch AND i.import_id = :import AND i.pack = :pack
          AND i.status = 'running'
        RETURNING i.id, i.document_id, i.stored_chunks, i.planned_chunks, given.pages
    )
    UPDATE documents d SET stage = 'embedding', pages_done = planned.pages, pages_total = planned.pages,
           chunks_done = planned.stored_chunks, chunks_total = planned.planned_chunks, updated_at = :now
    FROM planned WHERE d.id = planned.document_id
    """
)
_COUNTED = text(
    """
    UPDATE ingestions i SET stored_chunks = stored_chunks + given.chunks, model_calls = model_calls + :calls,
           model_calls_needed = greatest(model_calls_needed, model_calls + :calls),
           reused_chunks = reused_chunks + CASE WHEN CAST(:reused AS boolean) THEN given.chunks ELSE 0 END,
           refused_chunks = refused_chunks + CASE WHEN CAST(:refused AS boolean) THEN given.chunks ELSE 0 END, model_tokens = model_tokens + given.tokens, updated_at = :now
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:epochs AS int[]), CAST(:digests AS bytea[]), CAST(:chunks AS int[]),
        CAST(:tokens AS bigint[])
    ) AS given(id, epoch, digest, chunks, tokens)
    WHERE i.id = given.id AND i.epoch = given.epoch AND i.plan_digest = given.digest
      AND i.import_id = :import AND i.pack = :pack AND i.status = 'running'
    RETURNING i.id
    """
)
_EXPECTED = text(
    """
    UPDATE ingestions i SET model_calls_needed = model_calls + given.calls
    FROM unnest(CAST(:ids AS uuid[]), CAST(:calls AS int[])) AS given(id, calls)
    WHERE i.id = given.id AND i.import_id = :import AND i.pack = :pack AND i.status = 'running'
    """
)
_PUBLISHED = text(
    """
    WITH published AS (
        UPDATE ingestions i SET status = 'published', finished_at = :now, updated_at = :now,
               pages = given.pages, characters = given.characters, detected_encoding = given.encoding
        FROM unnest(
            CAST(:ids AS uuid[]), CAST(:epochs AS int[]), CAST(:pages AS int[]), CAST(:characters AS bigint[]),
            CAST(:encodings AS text[])
        ) AS given(id, epoch, pages, characters, encoding)
        WHERE i.id = given.id AND i.epoch = given.epoch AND i.import_id = :import AND i.pack = :pack
          AND i.status = 'running' AND i.stored_chunks = i.planned_chunks
          AND i.planned_chunks = (SELECT count(*) FROM chunks c WHERE c.ingestion_id = i.id)
        RETURNING i.id, i.document_id, i.embedding_model, i.stored_chunks, i.refused_chunks,
                  coalesce(i.encoding, i.detected_encoding) AS encoding,
                  CASE WHEN i.format = ANY (CAST(:paged AS text[])) THEN i.pages END AS page_count
    )
    UPDATE documents d SET status = 'ready', stage = NULL, active_ingestion_id = published.id, ready_at = :now,
           embedding_model = published.embedding_model, page_count = published.page_count,
           chunk_count = published.stored_chunks, refused_chunks = published.refused_chunks,
           chunks_done = published.stored_chunks, chunks_total = published.stored_chunks,
           encoding = published.encoding, error_code = NULL, error_message = NULL, updated_at = :now
    FROM published WHERE d.id = published.document_id
    RETURNING d.id, d.active_ingestion_id
    """
)
_SHOWN = text(
    """
    UPDATE documents d SET chunks_done = i.stored_chunks, updated_at = :now
    FROM ingestions i WHERE i.id = ANY (CAST(:ids AS uuid[])) AND d.id = i.document_id AND i.status = 'running'
    """
)

_PAGED = [known for known in Format if known.is_paged]


@dataclass(frozen=True, slots=True)
class PlannedDocument:
    """What was planned for a document."""

    ref: IngestionRef
    plan: Plan
    pages: int


@dataclass(frozen=True, slots=True)
class Publishable:
    """A document that may be complete, and what its version is to show."""

    ref: IngestionRef
    pages: int
    characters: int
    encoding: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """A document's chunks in one model call, each with its vector of shape (width,) or why it has none."""

    ref: IngestionRef
    digest: bytes
    chunks: Sequence[PlannedChunk]
    results: Sequence[Vectors | Refused]


@dataclass(frozen=True, slots=True)
class Paid:
    """What was paid for the chunks that are stored together; nothing where they are `reused` or `refused`."""

    calls: int = 0
    tokens: int = 0
    reused: bool = False
    refused: bool = False


async def planned(
    connection: AsyncConnection, pack: PackRef, found: Sequence[PlannedDocument], *, now: datetime
) -> None:
    """Record plans. Chunks that were stored by another plan are deleted, so that none are mixed."""
    if not found:
        return
    await lock_documents(connection, [each.ref.document_id for each in found])
    await _drop_other_plans(connection, pack, found)
    values = {
        "ids": [each.ref.ingestion_id for each in found], "epochs": [each.ref.epoch for each in found],
        "digests": [each.plan.digest for each in found], "chunks": [each.plan.chunks for each in found],
        "shards": [each.plan.shards for each in found],
        "pages": [each.pages for each in found], "model": found[0].plan.embedding_model,
        "batch_size": found[0].plan.batch_size, "import": pack.ref.import_id, "pack": pack.pack, "now": now,
    }  # fmt: skip
    await connection.execute(_PLANNED, values)


async def _drop_other_plans(connection: AsyncConnection, pack: PackRef, found: Sequence[PlannedDocument]) -> None:
    """Delete what an earlier run stored by another plan; as a rule there is nothing."""
    plans = {each.ref.ingestion_id: each.plan for each in found}
    query = select(ingestions).where(ingestions.c.id.in_(plans), ingestions.c.stored_chunks > 0, *in_pack(pack))
    for row in (await connection.execute(query)).all():
        plan = plans[row.id]
        known = (row.plan_digest, row.embedding_model, row.batch_size)
        if known != (plan.digest, plan.embedding_model, plan.batch_size):
            await chunks.delete_all(connection, row.id)
            await connection.execute(update(ingestions).where(ingestions.c.id == row.id).values(stored_chunks=0))


async def store(
    connection: AsyncConnection, pack: PackRef, parts: Sequence[Part], paid: Paid, *, now: datetime
) -> None:
    """Write the chunks of one model call, or of none, and count them for each document. Raises `chunks.AlreadyStored`.

    The fence comes after the rows, as for a single document; rows of a document that left the pack
    meanwhile are taken back in the same transaction.
    """
    await chunks.store_many(connection, [(part.ref, part.chunks, part.results) for part in parts])
    await lock_documents(connection, [part.ref.document_id for part in parts])
    counts = [len(part.chunks) for part in parts]
    values = {
        "ids": [part.ref.ingestion_id for part in parts], "epochs": [part.ref.epoch for part in parts],
        "digests": [part.digest for part in parts], "chunks": counts, "tokens": share_tokens(paid.tokens, counts),
        "calls": paid.calls, "reused": paid.reused, "refused": paid.refused,
        "import": pack.ref.import_id, "pack": pack.pack, "now": now,
    }  # fmt: skip
    counted = set((await connection.execute(_COUNTED, values)).scalars())
    for part in parts:
        if part.ref.ingestion_id not in counted:
            ordinals = [chunk.ordinal for chunk in part.chunks]
            mine = chunk_rows.c.ingestion_id == part.ref.ingestion_id, chunk_rows.c.ordinal.in_(ordinals)
            await connection.execute(delete(chunk_rows).where(*mine))


async def expect_calls(
    connection: AsyncConnection, pack: PackRef, refs: Sequence[IngestionRef], needed: Mapping[IngestionId, int]
) -> None:
    """Record how many calls are to come that hold texts of each document."""
    await lock_documents(connection, [ref.document_id for ref in refs])
    ids = [ref.ingestion_id for ref in refs]
    calls = [needed.get(id_, 0) for id_ in ids]
    await connection.execute(_EXPECTED, {"ids": ids, "calls": calls, "import": pack.ref.import_id, "pack": pack.pack})


async def publish(
    connection: AsyncConnection, pack: PackRef, found: Sequence[Publishable], *, now: datetime
) -> list[IngestionId]:
    """Make those documents ready whose chunks are all stored, and show the others' progress; answers which."""
    if not found:
        return []
    await lock_documents(connection, [each.ref.document_id for each in found])
    ids = [each.ref.ingestion_id for each in found]
    values = {
        "ids": ids, "epochs": [each.ref.epoch for each in found], "pages": [each.pages for each in found],
        "characters": [each.characters for each in found], "encodings": [each.encoding for each in found],
        "paged": _PAGED, "import": pack.ref.import_id, "pack": pack.pack, "now": now,
    }  # fmt: skip
    published = (await connection.execute(_PUBLISHED, values)).all()
    if len(published) < len(found):
        await connection.execute(_SHOWN, {"ids": ids, "now": now})
    await notify(connection, pack.ref.import_id, [DocumentId(row.id) for row in published])
    return [IngestionId(row.active_ingestion_id) for row in published]


async def stored_ordinals(connection: AsyncConnection, found: Collection[IngestionId]) -> set[tuple[IngestionId, int]]:
    """Tell which chunks of these are stored."""
    query = select(chunk_rows.c.ingestion_id, chunk_rows.c.ordinal).where(chunk_rows.c.ingestion_id.in_(found))
    return {(IngestionId(row.ingestion_id), row.ordinal) for row in await connection.execute(query)}
