"""Approvals: what a person decides about a tool call, and the run that is to hear of it.

A decision is a row before anybody is told of it. The run reads it when it is woken; housekeeping wakes runs whose
call was lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import tool_calls, turns
from adapters.postgres.tool_calls import Outcome, settle_call
from adapters.postgres.turns import lock_running
from domain.conversation import TurnStatus
from domain.errors import NotFound, StateConflict
from domain.ids import ConversationId, TurnId
from domain.steps import CallRef, Decisions, ModelStepRef
from domain.tools import CallStatus

REJECTED = "A person refused this call. Do not make it again; go on without it, or say that it was refused."


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says to a call."""

    approved: bool
    comment: str | None


async def of_turn(connection: AsyncConnection, turn_id: TurnId) -> Sequence[Row[Any]]:
    """List the calls of a turn that needed a person, in their order."""
    mine = tool_calls.c.turn_id == turn_id, tool_calls.c.approval.is_not(None)
    return (await connection.execute(select(tool_calls).where(*mine).order_by(tool_calls.c.approval))).all()


async def decide(
    connection: AsyncConnection, turn_id: TurnId, number: int, decision: Decision, *, now: datetime
) -> None:
    """Store a decision, once; the caller holds the turn, which is open. Raises `NotFound`, `StateConflict`."""
    mine = (tool_calls.c.turn_id == turn_id) & (tool_calls.c.approval == number)
    call = (await connection.execute(select(tool_calls).where(mine))).one_or_none()
    if call is None:
        raise NotFound("This turn asks for no approval of this number.")
    if call.decided_at is not None:
        if call.approved is decision.approved:
            return
        raise StateConflict("This call was decided already, and the other way.")
    values = {"approved": decision.approved, "comment": decision.comment, "decided_at": now}
    await connection.execute(update(tool_calls).where(mine).values(values))


async def apply(connection: AsyncConnection, at: ModelStepRef) -> Decisions:
    """Let what was approved run, and end what was refused; a second time finds the same. Raises `TurnClosed`."""
    await lock_running(connection, at.ref)
    mine = (tool_calls.c.turn_id == at.ref.turn_id) & (tool_calls.c.step == at.number)
    asked = select(tool_calls).where(mine, tool_calls.c.approval.is_not(None)).order_by(tool_calls.c.number)
    calls = (await connection.execute(asked)).all()
    for call in calls:
        if call.decided_at is not None and CallStatus(call.status) is CallStatus.WAITING:
            await _apply(connection, CallRef(ref=at.ref, step=at.number, number=call.number), call)
    return Decisions(
        approved=tuple(call.number for call in calls if call.approved),
        waiting=sum(call.decided_at is None for call in calls),
    )


async def _apply(connection: AsyncConnection, at: CallRef, call: Row[Any]) -> None:
    if not call.approved:
        said = f"{REJECTED} Their words: {call.comment}" if call.comment else REJECTED
        await settle_call(connection, at, Outcome(CallStatus.REJECTED, said, code="tool_rejected"))
        return
    mine = (
        (tool_calls.c.turn_id == at.ref.turn_id) & (tool_calls.c.step == at.step) & (tool_calls.c.number == at.number)
    )
    await connection.execute(update(tool_calls).where(mine).values(status=CallStatus.PLANNED))


async def unheard(connection: AsyncConnection, *, before: datetime, limit: int) -> list[ConversationId]:
    """Name the conversations whose run has not taken up what was decided."""
    query = (
        select(turns.c.conversation_id)
        .join(tool_calls, tool_calls.c.turn_id == turns.c.id)
        .where(tool_calls.c.status == CallStatus.WAITING, tool_calls.c.decided_at < before)
        .where(turns.c.status == TurnStatus.RUNNING)
        .distinct()
        .limit(limit)
    )
    return [ConversationId(id_) for id_ in (await connection.execute(query)).scalars()]
