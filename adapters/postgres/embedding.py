"""What is stored of an ingestion's embed steps, and which model calls they made and need. Nothing here commits.

A shard's step has its own numbers (`ingestion_steps`), and the ingestion their sum.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.dialects import postgresql
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
               refused_chunks = refused_chunks + :refused, model_calls = model_calls + :calls,
               model_calls_needed = model_calls_needed + :unforeseen, model_tokens = model_tokens + :tokens,
               updated_at = :now
        FROM held
        WHERE ingestions.id = :ingestion AND ingestions.document_id = held.id AND epoch = :epoch
          AND status = 'running' AND plan_digest = :digest
        RETURNING stored_chunks, planned_chunks
    ), part AS (
        INSERT INTO ingestion_steps AS s
               (ingestion_id, step, part, state, model_calls, model_calls_needed, model_tokens, first_started_at)
        SELECT :ingestion, :step, :part, 'running', :calls, CAST(:planned AS integer) + CAST(:unforeseen AS integer), :tokens, :started FROM counted
        ON CONFLICT (ingestion_id, step, part) DO UPDATE SET
               model_calls = s.model_calls + excluded.model_calls,
               model_tokens = s.model_tokens + excluded.model_tokens,
               model_calls_needed = coalesce(s.model_calls_needed, s.model_calls + :planned) + :unforeseen
    ), shown AS (
        UPDATE documents SET chunks_done = stored_chunks, updated_at = :now,
               stage = CASE WHEN stored_chunks = planned_chunks THEN 'publishing' ELSE 'embedding' END
        FROM counted
        WHERE id = :document AND current_ingestion_id = :ingestion AND status <> 'deleting'
    )
    SELECT pg_notify('documents', :payload) FROM counted
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
    """What one transaction stores: chunks, how many of them have another's vector or none, and what was paid.

    `unforeseen` calls are needed beside those that the record expects; fewer than expected are negative.
    """

    chunks: int
    reused: int = 0
    refused: int = 0
    calls: int = 0
    tokens: int = 0
    unforeseen: int = 0


async def count(connection: AsyncConnection, ref: IngestionRef, part: Part, stored: Stored, *, now: datetime) -> None:
    """Count chunks that were stored in this transaction, or refuse them and with them the transaction.

    The fence comes after the rows: a purge that fences first makes this find nothing, one that
    comes later waits here and then sees the rows that it has to delete. Nobody waits for the COPY.
    """
    values = {
        "document": ref.document_id, "ingestion": ref.ingestion_id, "epoch": ref.epoch, "digest": part.digest,
        "step": EMBED.name, "part": part.shard, "planned": part.planned_calls, "started": part.started_at,
        "now": now, **asdict(stored),
        "payload": str(ref.document_id),
    }  # fmt: skip
    if (await connection.execute(_STORED, values)).one_or_none() is None:
        raise IngestionClosed("The ingestion has ended, or a newer version took its place.")


async def open_part(connection: AsyncConnection, ref: IngestionRef, part: Part, *, activity_id: str) -> int:
    """Show that a shard's step runs; answers how many more calls the record expects of it."""
    table = ingestion_steps.c
    shown = {"state": "running", "activity_id": activity_id}
    key = {"ingestion_id": ref.ingestion_id, "step": EMBED.name, "part": part.shard}
    row = (
        await connection.execute(
            postgresql.insert(ingestion_steps)
            .values(key | shown | {"first_started_at": part.started_at})
            .on_conflict_do_update(index_elements=list(key), set_=shown)
            .returning(table.model_calls_needed, table.model_calls)
        )
    ).one()
    return part.planned_calls if row.model_calls_needed is None else int(row.model_calls_needed - row.model_calls)
