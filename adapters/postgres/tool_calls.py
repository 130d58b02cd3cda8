"""An agent's tool calls: planned, claimed, ended; each once, and told as it happens.

Every writer locks the turn's row first, so that what stands in the table is decided by one at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import turn_events as events
from adapters.postgres.tables import tool_calls
from adapters.postgres.turns import Writer, lock_running
from domain.conversation import EventType
from domain.errors import TurnClosed
from domain.ids import TurnId, call_id
from domain.ports import ToolCall, ToolResult
from domain.steps import CallEnded, CallRef, ModelStepRef
from domain.tools import ENDED, REPEATABLE, CallStatus, ToolType

# Planning


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call as the model made it; with `refused` it is not run, and the model is told why."""

    call: ToolCall
    tool: ToolType | None
    refused: str | None = None
    code: str | None = None
    needs_approval: bool = False


async def plan(connection: AsyncConnection, at: ModelStepRef, calls: Sequence[NewCall]) -> None:
    """Store the calls of a step, and tell of those that end here or need a person; the caller holds the turn."""
    last = select(func.coalesce(func.max(tool_calls.c.approval), 0)).where(tool_calls.c.turn_id == at.ref.turn_id)
    approvals = count(int((await connection.execute(last)).scalar_one()) + 1)
    rows = [
        {
            "turn_id": at.ref.turn_id, "step": at.number, "number": number, "id": call_id(at.ref.turn_id, at.number, number),
            "model_call_id": new.call.id, "signature": new.call.signature, "name": new.call.name,
            "arguments": dict(new.call.arguments), "tool": new.tool,
            "status": _first_status(new), "result": new.refused or "",
            "approval": next(approvals) if _waits(new) else None,
            "error_code": new.code, "finished_at": None if new.refused is None else func.now(),
        }
        for number, new in enumerate(calls)
    ]  # fmt: skip
    for row in rows:
        await connection.execute(insert(tool_calls).values(row))
        if row["status"] is CallStatus.FAILED:
            await _tell_end(connection, at.ref.turn_id, row)
        if row["status"] is CallStatus.WAITING:
            asked = _told(at.ref.turn_id, row) | {"approval": row["approval"], "arguments": row["arguments"]}
            await events.append(connection, at.ref.turn_id, EventType.APPROVAL_REQUIRED, asked)


def _waits(new: NewCall) -> bool:
    return new.needs_approval and new.refused is None


def _first_status(new: NewCall) -> CallStatus:
    if new.refused is not None:
        return CallStatus.FAILED
    return CallStatus.WAITING if new.needs_approval else CallStatus.PLANNED


# Running


async def call(connection: AsyncConnection, at: CallRef) -> ToolCall:
    """Read a call as the model made it. Raises `TurnClosed`."""
    row = (await connection.execute(select(tool_calls).where(_is(at)))).one_or_none()
    if row is None:
        raise _closed()
    return call_of(row)


async def claim_call(connection: AsyncConnection, at: CallRef, writer: Writer, *, repeatable: bool) -> int | CallEnded:
    """Take over a call and give the attempt, which fences it; or find how it ended. Raises `TurnClosed`.

    One that began before, and may not run twice, ends here: its outcome is unknown.
    """
    await lock_running(connection, at.ref)
    call = (await connection.execute(select(tool_calls).where(_is(at)))).one()
    if writer.is_late(call):
        raise _closed()
    if CallStatus(call.status) in ENDED:
        return CallEnded(status=CallStatus(call.status))
    if CallStatus(call.status) is CallStatus.WAITING:
        raise _closed()  # nobody has allowed it
    if call.attempts and not repeatable:
        unknown = Outcome(CallStatus.UNKNOWN, UNKNOWN, code="tool_outcome_unknown")
        return await _end(connection, at, unknown)
    values = writer.values | {"status": CallStatus.RUNNING, "attempts": call.attempts + 1}
    began = {"started_at": func.coalesce(tool_calls.c.started_at, func.now())}
    await connection.execute(update(tool_calls).where(_is(at)).values(values | began))
    if not call.attempts:
        started = _told(at.ref.turn_id, call._mapping) | {"arguments": call.arguments}
        await events.append(connection, at.ref.turn_id, EventType.TOOL_STARTED, started)
    return int(call.attempts) + 1


async def hold_call(connection: AsyncConnection, at: CallRef, writer: Writer) -> None:
    """Keep other writers out of the turn until the commit. Raises `TurnClosed` where the call ended or was taken over."""
    await lock_running(connection, at.ref)
    mine = (tool_calls.c.run_id == writer.run_id) & (tool_calls.c.run_attempt == writer.attempt)
    held = select(tool_calls.c.id).where(_is(at), mine, tool_calls.c.status == CallStatus.RUNNING)
    if (await connection.execute(held)).one_or_none() is None:
        raise _closed()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, and what the model is told; `markers` name passages that it is given with that."""

    status: CallStatus
    result: str
    markers: Sequence[int] = ()
    code: str | None = None


UNKNOWN = (
    "The call began, and whether it had its effect is not known. It was not repeated. Say so, or look whether the "
    "effect is there before you try again."
)


async def end_call(connection: AsyncConnection, at: CallRef, attempt: int, outcome: Outcome) -> CallEnded:
    """Store what a call gave, once. Raises `TurnClosed` where a later attempt has taken it over."""
    await lock_running(connection, at.ref)
    call = (await connection.execute(select(tool_calls).where(_is(at), tool_calls.c.attempts == attempt))).one_or_none()
    if call is None:
        raise _closed()
    if CallStatus(call.status) in ENDED:
        return CallEnded(status=CallStatus(call.status))
    return await _end(connection, at, outcome)


async def settle_call(connection: AsyncConnection, at: CallRef, outcome: Outcome) -> CallEnded:
    """End a call that its own step cannot end any more; one that has ended stays as it is. Raises `TurnClosed`."""
    await lock_running(connection, at.ref)
    call = (await connection.execute(select(tool_calls).where(_is(at)))).one()
    if CallStatus(call.status) in ENDED:
        return CallEnded(status=CallStatus(call.status))
    doubtful = CallStatus(call.status) is CallStatus.RUNNING and ToolType(call.tool) not in REPEATABLE
    return await _end(connection, at, replace(outcome, status=CallStatus.UNKNOWN) if doubtful else outcome)


async def _end(connection: AsyncConnection, at: CallRef, outcome: Outcome) -> CallEnded:
    values = {
        "status": outcome.status, "result": outcome.result, "markers": list(outcome.markers),
        "error_code": outcome.code, "finished_at": func.now(),
    }  # fmt: skip
    ended = update(tool_calls).where(_is(at)).values(values).returning(*tool_calls.c)
    await _tell_end(connection, at.ref.turn_id, dict((await connection.execute(ended)).one()._mapping))
    return CallEnded(status=outcome.status)


async def _tell_end(connection: AsyncConnection, turn_id: TurnId, call: dict[str, Any]) -> None:
    data = _told(turn_id, call) | {"status": str(call["status"]), "error_code": call["error_code"]}
    await events.append(connection, turn_id, EventType.TOOL_COMPLETED, data)


def _told(turn_id: TurnId, call: Any) -> dict[str, Any]:
    return {
        "call_id": str(call_id(turn_id, call["step"], call["number"])),
        "step": call["step"],
        "tool": call["tool"],
        "name": call["name"],
    }


# Rows


def _is(at: CallRef) -> ColumnElement[bool]:
    return and_(tool_calls.c.turn_id == at.ref.turn_id, tool_calls.c.step == at.step, tool_calls.c.number == at.number)


def _closed() -> TurnClosed:
    return TurnClosed("The turn is finished, was deleted, or this step is done by a later attempt.")


def call_of(row: Row[Any]) -> ToolCall:
    """Give a call as the model made it."""
    return ToolCall(id=row.model_call_id, name=row.name, arguments=row.arguments, signature=row.signature)


def result_of(row: Row[Any]) -> ToolResult:
    """Give what the model is told of a call."""
    if CallStatus(row.status) not in ENDED:
        return ToolResult(call_id=row.model_call_id, content="The call was given up: its time was over.", failed=True)
    complete = CallStatus(row.status) is CallStatus.COMPLETE
    return ToolResult(call_id=row.model_call_id, content=row.result, failed=not complete, markers=tuple(row.markers))
