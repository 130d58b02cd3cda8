"""What a turn searches for, and what the calls beside its answer cost. Nothing here commits."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import turns
from domain.conversation import TurnStatus
from domain.messages import Usage
from domain.ports import Completion
from domain.steps import TurnRef


async def store(
    connection: AsyncConnection, ref: TurnRef, queries: Sequence[str], step: str, completion: Completion | None
) -> None:
    """Store what is searched for, and what it cost, once for a turn; a turn that is over is left as it is.

    Without a completion no model could say it, and nothing was used.
    """
    await connection.execute(
        update(turns)
        .where(*_running(ref), turns.c.queries.is_(None))
        .values(queries=list(queries), **(_cost(step, completion) if completion is not None else {}))
    )


async def count(connection: AsyncConnection, ref: TurnRef, step: str, completion: Completion) -> None:
    """Store what a call cost whose result the same transaction stores."""
    await connection.execute(update(turns).where(*_running(ref)).values(**_cost(step, completion)))


def _running(ref: TurnRef) -> tuple[ColumnElement[bool], ...]:
    return turns.c.id == ref.turn_id, turns.c.owner_id == ref.owner_id, turns.c.status == TurnStatus.RUNNING


def _cost(step: str, completion: Completion) -> dict[str, Any]:
    call = {
        "step": step,
        "model": completion.model,
        "input_tokens": completion.input_tokens,
        "output_tokens": completion.output_tokens,
    }
    return {"side_calls": turns.c.side_calls.op("||")(type_coerce([call], JSONB)), "updated_at": func.now()}


def usage_of(turn: Any) -> Usage:
    """Add up what the answer and the calls beside it used."""
    calls: Sequence[Mapping[str, Any]] = turn.side_calls
    return Usage(
        input_tokens=turn.input_tokens + sum(call["input_tokens"] for call in calls),
        output_tokens=turn.output_tokens + sum(call["output_tokens"] for call in calls),
    )
