"""What is stored of an ingestion's embed steps, and which model calls they made and need. Nothing here commits.

A shard's step has its own numbers (`ingestion_steps`), and the ingestion their sum.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import ingestion_steps
from domain.documents import IngestionRef
from domain.errors import IngestionClosed
from domain.steps import EMBED

_STORED = text(
    """
    WITH held AS (
        SELECT id FROM documents WHERE id = :document FOR UPDATE
    ), counted AS (
        UPDATE ingestions SET stored_chunks = stored_chunks + :chunks, reused_chunks = reused_chunks + :reused,
               model_calls = model_calls + :calls, model_tokens = model_tokens + :tokens, updated_at = :now
        FROM held
        WHERE ingestions.id = :ingestion AND ingestions.document_id = held.id AND epoch = :epoch
          AND status = 'running' AND plan_digest = :digest
        RETURNING stored_chunks, planned_chunks
    ), part AS (
        INSERT INTO ingestion_steps AS s
               (ingestion_id, step, part, state, model_calls, model_calls_needed, model_tokens, first_started_at)
        SELECT :ingestion, :step, :part, 'running', :calls, :planned, :tokens, :started FROM counted
        ON CONFLICT (ingestion_id, step, part) DO UPDATE SET
               model_calls = s.model_calls + excluded.model_calls,
               model_tokens = s.model_tokens + excluded.model_tokens,
               model_calls_needed = coalesce(s.model_calls_needed, s.model_calls + excluded.model_calls_needed)
    ), shown AS (
        UPDATE documents SET chunks_done = stored_chunks, updated_at = :now,
               stage = CASE WHEN stored_chunks = planned_chunks THEN 'publishing' ELSE 'embedding' END
        FROM counted
        WHERE id = :document AND current_ingestion_id = :ingestion AND status <> 'deleting'
    )
    SELECT pg_notify('documents', :payload) FROM counted
    """
)

_EXPECT = text(
    """
    WITH changed AS (
        UPDATE ingestion_steps s SET model_calls_needed = s.model_calls + :left
        FROM ingestion_steps was
        WHERE s.ingestion_id = :ingestion AND s.step = :step AND s.part = :part
          AND was.ingestion_id = s.ingestion_id AND was.step = s.step AND was.part = s.part
        RETURNING s.model_calls_needed - was.model_calls_needed AS difference
    )
    UPDATE ingestions SET model_calls_needed = model_calls_needed + changed.difference
    FROM changed WHERE ingestions.id = :ingestion
    """
)


@dataclass(frozen=True, slots=True)
class Part:
    """A shard as its rows are counted: the plan that it belongs to, and the calls which that foresaw for it."""

    shard: int
    digest: bytes
    planned_calls: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """What one transaction stores: chunks, how many of them took their vector from another, and what was paid."""

    chunks: int
    reused: int
    calls: int
    tokens: int


async def count(connection: AsyncConnection, ref: IngestionRef, part: Part, stored: Stored, *, now: datetime) -> None:
    """Count chunks that were stored in this transaction, or refuse them and with them the transaction.

    The fence comes after the rows: a purge that fences first makes this find nothing, one that
    comes later waits here and then sees the rows that it has to delete. Nobody waits for the COPY.
    """
    values = {
        "document": ref.document_id, "ingestion": ref.ingestion_id, "epoch": ref.epoch, "digest": part.digest,
        "step": EMBED.name, "part": part.shard, "planned": part.planned_calls, "started": part.started_at,
        "chunks": stored.chunks, "reused": stored.reused, "calls": stored.calls, "tokens": stored.tokens,
        "now": now, "payload": str(ref.document_id),
    }  # fmt: skip
    if (await connection.execute(_STORED, values)).one_or_none() is None:
        raise IngestionClosed("The ingestion has ended, or a newer version took its place.")


async def calls_expected(connection: AsyncConnection, ref: IngestionRef, shard: int, *, planned: int) -> int:
    """Tell how many more calls the record expects of a shard for which the plan foresaw so many."""
    table = ingestion_steps.c
    query = select(table.model_calls_needed, table.model_calls).where(
        table.ingestion_id == ref.ingestion_id, table.step == EMBED.name, table.part == shard
    )
    row = (await connection.execute(query)).one_or_none()
    return planned if row is None or row.model_calls_needed is None else row.model_calls_needed - row.model_calls


async def expect_calls(connection: AsyncConnection, ref: IngestionRef, shard: int, left: int) -> None:
    """Record how many more calls a shard needs. Comes after `count`, which holds the document's row."""
    values = {"ingestion": ref.ingestion_id, "step": EMBED.name, "part": shard, "left": left}
    await connection.execute(_EXPECT, values)
