"""The flight record of packed documents: a pack's step is a step of each of them. Nothing here commits."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.flight import Attempt, Failure
from domain.ids import IngestionId

# Counts as `domain.ingestion.attempts_after` does: the low ten bits of a sequence are the attempt's number.
_RECORD = text(
    """
    INSERT INTO ingestion_steps AS s (
        ingestion_id, step, part, attempts, state, seconds, error_code, error_message, sequence,
        model_calls, model_calls_needed, model_tokens, first_started_at, finished_at
    )
    SELECT i.id, :step, :part, CAST(:sequence AS bigint) & 1023, :state, CAST(:seconds AS float8), :code, :message,
           :sequence, i.model_calls, i.model_calls_needed, i.model_tokens, :started, :now
    FROM ingestions i WHERE i.id = ANY (CAST(:ids AS uuid[]))
    ON CONFLICT (ingestion_id, step, part) DO UPDATE SET
        attempts = s.attempts + CASE
            WHEN excluded.sequence <= s.sequence THEN 0
            WHEN excluded.sequence >> 10 = s.sequence >> 10 THEN (excluded.sequence & 1023) - (s.sequence & 1023)
            ELSE excluded.sequence & 1023 END,
        seconds = s.seconds + CASE WHEN excluded.sequence > s.sequence THEN excluded.seconds ELSE 0 END,
        sequence = greatest(s.sequence, excluded.sequence), state = excluded.state,
        error_code = excluded.error_code, error_message = excluded.error_message, model_calls = excluded.model_calls,
        model_calls_needed = excluded.model_calls_needed, model_tokens = excluded.model_tokens,
        finished_at = excluded.finished_at
    """
)


async def record(
    connection: AsyncConnection,
    ids: Sequence[IngestionId],
    attempt: Attempt,
    *,
    now: datetime,
    failure: Failure | None = None,
) -> None:
    """Write how an attempt at a pack ended, for each of its documents. The same attempt twice counts once."""
    if not ids:
        return
    values = {
        "ids": list(ids), "step": attempt.step, "part": attempt.part, "sequence": attempt.sequence,
        "state": "failed" if failure else "completed", "code": failure.code if failure else None,
        "message": failure.message if failure else None, "started": attempt.started_at, "now": now,
        "seconds": max(0.0, (now - attempt.started_at).total_seconds()),
    }  # fmt: skip
    await connection.execute(_RECORD, values)
