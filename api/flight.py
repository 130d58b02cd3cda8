"""The steps of a flight record: what the database has of each, and what the workflow engine knows of those under way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from adapters.temporal.ingestions import PendingActivity
from api.schemas.documents import LastError
from api.schemas.ingestions import ModelCalls, StepRecord
from domain.documents import IngestionStatus
from domain.embedding import calls_for
from domain.ingestion import shard_range
from domain.steps import EMBED

_Key = tuple[str, int]
_OPEN = frozenset({IngestionStatus.PENDING, IngestionStatus.RUNNING, IngestionStatus.PARKED})


@dataclass(frozen=True, slots=True)
class Links:
    """Pages of the Web UI: the run's history, and its activities that are under way."""

    history: str | None
    pending: str | None


def steps_of(
    ingestion: Row[Any], rows: Sequence[Row[Any]], pending: Sequence[PendingActivity], links: Links, *, now: datetime
) -> list[StepRecord]:
    """List the steps that began, in that order, then those that wait for their first attempt.

    An import's activities are of many documents at once: to one of them only its own rows speak.
    """
    known: dict[_Key, Row[Any]] = {(row.step, row.part): row for row in rows}
    alone = ingestion.import_id is None
    under_way = _by_part(ingestion, known, pending) if alone else {}
    shards = range(ingestion.shards or 0) if alone and ingestion.status in _OPEN else ()
    ahead = [(EMBED.name, shard) for shard in shards]
    records = []
    for key in dict.fromkeys((*known, *under_way, *ahead)):
        row, activity = known.get(key), under_way.get(key)
        records.append(_record(ingestion, key, row, activity, links, now=now))
    return records


def _by_part(
    ingestion: Row[Any], known: Mapping[_Key, Row[Any]], pending: Sequence[PendingActivity]
) -> dict[_Key, PendingActivity]:
    """Tell which activity is which shard's: a shard that began has written it down, the others are begun in order."""
    named = {row.activity_id: key for key, row in known.items() if row.activity_id and row.state != "completed"}
    found: dict[_Key, PendingActivity] = {}
    unnamed = []
    for activity in pending:
        if activity.step != EMBED.name:
            found[activity.step, 0] = activity
        elif (key := named.get(activity.id)) is not None:
            found[key] = activity
        else:
            unnamed.append(activity)
    free = [
        key
        for key in ((EMBED.name, shard) for shard in range(ingestion.shards or 0))
        if key not in found and not (key in known and known[key].state == "completed")
    ]
    unnamed.sort(key=lambda activity: (len(activity.id), activity.id))
    return found | dict(zip(free, unnamed, strict=False))


def _record(
    ingestion: Row[Any],
    key: _Key,
    row: Row[Any] | None,
    activity: PendingActivity | None,
    links: Links,
    *,
    now: datetime,
) -> StepRecord:
    step, part = key
    attempts, seconds = (row.attempts, row.seconds) if row is not None else (0, 0.0)
    error = LastError.of(row) if row is not None else None
    if activity is not None:
        attempts = max(attempts + 1, activity.attempt) if activity.running else max(attempts, activity.attempt - 1)
        if activity.running and activity.started_at is not None:
            seconds += max(0.0, (now - activity.started_at).total_seconds())
        error = error if activity.error is None else LastError(code=activity.error[0], message=activity.error[1])
    return StepRecord(
        step=step,
        part=part,
        state=_state(ingestion, row, activity),
        attempts=attempts,
        seconds=round(seconds, 3),
        started_at=None if row is None else row.first_started_at,
        finished_at=None if row is None or activity is not None else row.finished_at,
        last_error=error,
        next_retry_at=None if activity is None else activity.next_retry_at,
        model_calls=_model_calls(ingestion, key, row),
        model_tokens=0 if row is None else row.model_tokens,
        url=links.history if activity is None else links.pending,
    )


def _state(ingestion: Row[Any], row: Row[Any] | None, activity: PendingActivity | None) -> str:
    if activity is not None:
        return "running" if activity.running else "waiting"
    if row is None:
        return "waiting"
    stopped = row.state == "running" and ingestion.status != IngestionStatus.RUNNING
    return "failed" if stopped else str(row.state)


def _model_calls(ingestion: Row[Any], key: _Key, row: Row[Any] | None) -> ModelCalls | None:
    step, part = key
    made = 0 if row is None else row.model_calls
    needed = None if row is None else row.model_calls_needed
    if step == EMBED.name and needed is None and ingestion.planned_chunks is not None:
        size = ingestion.batch_size
        needed = made + calls_for(len(shard_range(part, chunks=ingestion.planned_chunks, batch_size=size)), size)
    return ModelCalls(made=made, needed=needed) if needed is not None or made else None
