"""The flight record: one row a step and shard, counting attempts and their time. Nothing here commits."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import ingestion_steps, ingestions
from domain.documents import IngestionRef
from domain.ingestion import attempts_after
from domain.steps import EMBED


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a step, while it runs; `sequence` is `domain.ingestion.attempt_sequence`."""

    step: str
    part: int
    sequence: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed: a stable code and a sentence without content."""

    code: str
    message: str


async def record(
    connection: AsyncConnection, ref: IngestionRef, attempt: Attempt, *, now: datetime, failure: Failure | None = None
) -> None:
    """Write how an attempt ended. The same attempt twice counts once; a gone ingestion is left alone."""
    table = ingestion_steps.c
    if await connection.scalar(select(ingestions.c.id).where(ingestions.c.id == ref.ingestion_id)) is None:
        return
    query = select(table.attempts, table.seconds, table.sequence).where(
        table.ingestion_id == ref.ingestion_id, table.step == attempt.step, table.part == attempt.part
    )
    seen = (await connection.execute(query.with_for_update())).one_or_none()
    attempts, seconds, last = (seen.attempts, seen.seconds, seen.sequence) if seen else (0, 0.0, 0)
    took = max(0.0, (now - attempt.started_at).total_seconds())
    values = {
        "attempts": attempts_after(attempts, last, attempt.sequence),
        "seconds": seconds + took if attempt.sequence > last else seconds,
        "sequence": max(last, attempt.sequence),
        "state": "failed" if failure else "completed",
        "error_code": failure.code if failure else None,
        "error_message": failure.message if failure else None,
        "finished_at": now,
    }
    key = {"ingestion_id": ref.ingestion_id, "step": attempt.step, "part": attempt.part}
    await connection.execute(
        postgresql.insert(ingestion_steps)
        .values(key | values | {"first_started_at": attempt.started_at})
        .on_conflict_do_update(index_elements=list(key), set_=values)
    )


async def forget_calls_needed(connection: AsyncConnection, ref: IngestionRef) -> None:
    """Make the parts of another plan count anew what they need; what was paid stays."""
    mine = (ingestion_steps.c.ingestion_id == ref.ingestion_id) & (ingestion_steps.c.step == EMBED.name)
    await connection.execute(update(ingestion_steps).where(mine).values(model_calls_needed=None))
