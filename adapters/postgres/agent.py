"""An agent's steps: claimed, stored once, and read again for the next one.

Every writer locks the turn's row first, so that what stands in these tables is decided by one at a time.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import turn_events as events
from adapters.postgres.tables import agent_steps, tool_calls, turns
from adapters.postgres.tool_calls import NewCall, call_of, plan, result_of
from adapters.postgres.turns import Claim, Writer, lock_running
from domain.conversation import EventType
from domain.errors import TurnClosed
from domain.ids import TurnId
from domain.messages import Usage
from domain.ports import ModelStep
from domain.steps import ModelStepped, ModelStepRef, PlannedCall, TurnRef
from domain.tools import CallStatus, ToolType

# Model steps


async def claim_step(
    connection: AsyncConnection, at: ModelStepRef, writer: Writer, *, model: str
) -> Claim | ModelStepped:
    """Take over the writing of a step, or find what it came to. Raises `TurnClosed`.

    Drops what an earlier attempt had shown of it.
    """
    turn = await _lock(connection, at.ref)
    if turn.draft is not None:
        return ModelStepped(answered=True)
    where = and_(agent_steps.c.turn_id == at.ref.turn_id, agent_steps.c.number == at.number)
    step = (await connection.execute(select(agent_steps).where(where))).one_or_none()
    if step is not None and step.finished_at is not None:
        return await _stepped(connection, step)
    if step is not None and writer.is_late(step):
        raise _closed()
    row = {"turn_id": at.ref.turn_id, "number": at.number} | writer.values
    taken = postgresql.insert(agent_steps).values(row)
    await connection.execute(taken.on_conflict_do_update(index_elements=["turn_id", "number"], set_=writer.values))
    attempt = turn.attempt + 1
    holds = writer.values | {"attempt": attempt, "model": model, "updated_at": func.now()}
    await connection.execute(update(turns).where(turns.c.id == at.ref.turn_id).values(holds))
    return Claim(attempt, await _reset(connection, at.ref.turn_id, attempt) or turn.last_sequence)


async def store_step(
    connection: AsyncConnection,
    at: ModelStepRef,
    claim: Claim,
    text: str,
    calls: Sequence[NewCall],
    *,
    model: str,
    usage: Usage,
    cut_off: bool,
) -> ModelStepped:
    """Store what a step said and asked for, once; without calls its text is the turn's draft. Raises `TurnClosed`."""
    turn = await _lock(connection, at.ref, attempt=claim.attempt)
    where = and_(agent_steps.c.turn_id == at.ref.turn_id, agent_steps.c.number == at.number)
    counted = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    ended = update(agent_steps).where(where, agent_steps.c.finished_at.is_(None))
    stored = await connection.execute(ended.values(text=text, finished_at=func.now(), **counted))
    if stored.rowcount:
        spent = {name: getattr(turns.c, name) + count for name, count in counted.items()}
        values = (
            spent | {"model": model, "updated_at": func.now()} | ({} if calls else {"draft": text, "cut_off": cut_off})
        )
        await connection.execute(update(turns).where(turns.c.id == turn.id).values(values))
        if calls:
            await _reset(connection, at.ref.turn_id, claim.attempt)
            await plan(connection, at, calls)
    return await _stepped(connection, (await connection.execute(select(agent_steps).where(where))).one())


async def steps(connection: AsyncConnection, turn_id: TurnId) -> list[ModelStep]:
    """Read the steps that were made, with what their calls gave; a call without an end says so."""
    query = select(agent_steps).where(agent_steps.c.turn_id == turn_id, agent_steps.c.finished_at.is_not(None))
    asked: dict[int, list[Row[Any]]] = {}
    calls = select(tool_calls).where(tool_calls.c.turn_id == turn_id).order_by(tool_calls.c.step, tool_calls.c.number)
    for call in await connection.execute(calls):
        asked.setdefault(call.step, []).append(call)
    return [
        ModelStep(
            text=row.text,
            calls=[call_of(call) for call in asked.get(row.number, [])],
            results=[result_of(call) for call in asked.get(row.number, [])],
        )
        for row in await connection.execute(query.order_by(agent_steps.c.number))
    ]


# Rows


async def _lock(connection: AsyncConnection, ref: TurnRef, *, attempt: int | None = None) -> Row[Any]:
    await lock_running(connection, ref)
    row = (await connection.execute(select(turns).where(turns.c.id == ref.turn_id))).one()
    if attempt is not None and row.attempt != attempt:
        raise _closed()
    return row


def _closed() -> TurnClosed:
    return TurnClosed("The turn is finished, was deleted, or this step is done by a later attempt.")


async def _reset(connection: AsyncConnection, turn_id: TurnId, attempt: int) -> int | None:
    """Take back what was shown, if anything was."""
    if not await events.shown_text(connection, turn_id):
        return None
    return await events.append(connection, turn_id, EventType.RESET, {"attempt": attempt}, attempt=attempt)


async def _stepped(connection: AsyncConnection, step: Row[Any]) -> ModelStepped:
    query = (
        select(tool_calls)
        .where(tool_calls.c.turn_id == step.turn_id, tool_calls.c.step == step.number)
        .order_by(tool_calls.c.number)
    )
    calls = (await connection.execute(query)).all()
    return ModelStepped(
        answered=not calls,
        calls=tuple(
            PlannedCall(number=call.number, tool=ToolType(call.tool), needs_approval=call.approval is not None)
            for call in calls
            if call.tool is not None and CallStatus(call.status) is not CallStatus.FAILED
        ),
        tokens=step.input_tokens + step.output_tokens,
    )
