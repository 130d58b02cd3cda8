"""How a turn ends: its answer is stored, it is closed, and its readers are told, in one transaction."""

import asyncio
import json
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import messages as message_rows
from adapters.postgres import turn_events as events
from adapters.postgres import turn_passages as passage_rows
from adapters.postgres.tables import tool_calls, turns
from adapters.postgres.understanding import usage_of
from domain.citations import verify
from domain.conversation import FINAL_TURN, EventType, Role, TurnOutcome, TurnStatus
from domain.ids import CallId, MessageId, TurnId, answer_id, consultation
from domain.messages import Failure, Message, MessageStatus
from domain.tools import ToolType

FINAL_EVENT = {
    TurnOutcome.COMPLETE: EventType.COMPLETED,
    TurnOutcome.PARTIAL: EventType.CANCELLED,
    TurnOutcome.FAILED: EventType.FAILED,
}

# Calls that asked another bot; the other turn's id follows from the call's.
_ASKED = select(func.array_agg(tool_calls.c.id)).where(
    tool_calls.c.turn_id == turns.c.id, tool_calls.c.tool == ToolType.ASK_BOT
)
_TURN = (
    select(turns, _ASKED.scalar_subquery().label("asked"))
    .where(turns.c.id == bindparam("turn"))
    .with_for_update(of=turns)
)
_UNSTARTED = (
    select(turns.c.id).where(turns.c.id == bindparam("turn"), turns.c.status == TurnStatus.PENDING).with_for_update()
)

# Closes the turn with its last event, and wakes its readers and who waits for its end only.
_CLOSE = text(
    """
    WITH turn AS (
        UPDATE turns SET status = :status, answer_id = :answer, draft = NULL, error_code = :code,
               error_message = :message, last_sequence = last_sequence + 1,
               finished_at = :now, updated_at = :now
        WHERE id = :turn
        RETURNING id, last_sequence, attempt
    ), event AS (
        INSERT INTO turn_events (turn_id, sequence, attempt, type, data)
        SELECT id, last_sequence, attempt, :type, CAST(:data AS jsonb) FROM turn
        RETURNING CAST(turn_id AS text) AS turn
    )
    SELECT pg_notify('turn_events', turn), pg_notify('turn_ends', turn) FROM event
    """
)


async def finish(
    connection: AsyncConnection, turn_id: TurnId, outcome: TurnOutcome, failure: Failure | None, *, now: datetime
) -> Message | None:
    """Store the answer, close the turn and say so; a second time answers what the first stored.

    The text is the draft or, where the generation did not come to its end, what was streamed. With a
    draft the answer is complete: a stop or a failure came after it. What the turn asked of other bots, and they have not
    taken up, is taken back. None where the turn is gone.
    """
    turn = (await connection.execute(_TURN, {"turn": turn_id})).one_or_none()
    if turn is None:
        return None
    answer = answer_id(turn_id)
    if TurnStatus(turn.status) in FINAL_TURN:
        return await message_rows.find(connection, answer)
    content = turn.draft if turn.draft is not None else await events.shown_text(connection, turn_id)
    # An answer that was made to be slow takes a second: its own turn waits, and nobody else's.
    citations = await asyncio.to_thread(verify, content, await passage_rows.take(connection, turn_id))
    if turn.draft is not None:
        outcome = TurnOutcome.COMPLETE
    if outcome is not TurnOutcome.FAILED:
        failure = None
    message = await message_rows.add(
        connection,
        turn.conversation_id,
        turn_id,
        answer,
        Role.ASSISTANT,
        content,
        after=MessageId(turn.question_id),
        status=MessageStatus(outcome.value),
        citations=citations,
        model=turn.model,
        usage=usage_of(turn),
        failure=failure,
    )
    values = {
        "turn": turn_id,
        "status": outcome.value,
        "answer": answer,
        "code": failure.code if failure else None,
        "message": failure.message if failure else None,
        "now": now,
        "type": FINAL_EVENT[outcome].value,
        "data": json.dumps(final_data(message, cut_off=turn.cut_off)),
    }
    await connection.execute(_CLOSE, values)
    for call in turn.asked or ():
        await take_back(connection, call, now=now)
    return message


async def take_back(connection: AsyncConnection, call: CallId, *, now: datetime) -> None:
    """Stop the turn of a bot that this call asked, where no run has taken it up: nobody waits for it any more."""
    _, turn, _ = consultation(call)
    if (await connection.execute(_UNSTARTED, {"turn": turn})).one_or_none() is not None:
        await finish(connection, turn, TurnOutcome.PARTIAL, None, now=now)


def final_data(answer: Message, *, cut_off: bool = False) -> dict[str, Any]:
    """Give the last event's content."""
    if answer.status is MessageStatus.FAILED and answer.error is not None:
        return {"error": answer.error.model_dump(mode="json")}
    return {"message": answer.model_dump(mode="json"), **({"cut_off": True} if cut_off else {})}
