"""Turns: accepted, begun, drafted, finished. Every write asks whether the turn is still the writer's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import messages as message_rows
from adapters.postgres import turn_events as events
from adapters.postgres.tables import bots, messages, turn_events, turn_passages, turns
from domain.bots import BotConfiguration
from domain.citations import verify
from domain.conversation import FINAL_TURN, EventType, Role, TurnOutcome, TurnStatus
from domain.errors import TurnClosed
from domain.ids import ChunkId, DocumentId, TurnId, answer_id
from domain.messages import Failure, Message, MessageStatus, Usage
from domain.retrieval import Passage
from domain.steps import TurnRef

_OPEN = (TurnStatus.PENDING, TurnStatus.RUNNING)
FINAL_EVENT = {
    TurnOutcome.COMPLETE: EventType.COMPLETED,
    TurnOutcome.PARTIAL: EventType.CANCELLED,
    TurnOutcome.FAILED: EventType.FAILED,
}


def _closed() -> TurnClosed:
    return TurnClosed("The turn is finished, was deleted, or is written by a later attempt.")


def _is(ref: TurnRef) -> ColumnElement[bool]:
    return and_(
        turns.c.id == ref.turn_id, turns.c.owner_id == ref.owner_id, turns.c.conversation_id == ref.conversation_id
    )


# Begin


async def begin(connection: AsyncConnection, ref: TurnRef, *, run_id: str) -> None:
    """Mark the turn running and say so, once. Raises `TurnClosed`."""
    taken = (
        update(turns)
        .where(_is(ref), turns.c.status.in_(_OPEN))
        .values(status=TurnStatus.RUNNING, run_id=run_id, updated_at=func.now())
        .returning(turns.c.last_sequence)
    )
    row = (await connection.execute(taken)).one_or_none()
    if row is None:
        raise _closed()
    if row.last_sequence == 0:
        await events.append(connection, ref.turn_id, EventType.STARTED, {"turn_id": str(ref.turn_id)})


async def set_history(connection: AsyncConnection, ref: TurnRef, position: int | None) -> None:
    """Remember where the window of history begins."""
    await connection.execute(
        update(turns).where(_is(ref), turns.c.status == TurnStatus.RUNNING).values(history_from=position)
    )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, which part of the conversation belongs to it, and how the bot is to answer."""

    content: str
    position: int
    history_from: int | None
    model: str | None
    temperature: float
    configuration: BotConfiguration


async def question(connection: AsyncConnection, ref: TurnRef) -> Question:
    """Read the question of a running turn. Raises `TurnClosed`."""
    query = (
        select(messages.c.content, messages.c.position, turns.c.history_from)
        .add_columns(bots.c.model, bots.c.temperature, bots.c.configuration)
        .join(turns, turns.c.question_id == messages.c.id)
        .join(bots, bots.c.id == turns.c.bot_id)
        .where(_is(ref), turns.c.status == TurnStatus.RUNNING)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _closed()
    return Question(
        content=row.content,
        position=row.position,
        history_from=row.history_from,
        model=row.model,
        temperature=row.temperature,
        configuration=BotConfiguration.model_validate(row.configuration),
    )


# Passages


async def store_passages(
    connection: AsyncConnection, ref: TurnRef, passages: list[Passage], retrieved: dict[str, Any]
) -> None:
    """Store what the model will be given and say so, once for a turn. Raises `TurnClosed`."""
    await lock_running(connection, ref)
    if await events.has_event(connection, ref.turn_id, EventType.RETRIEVED):
        return
    await connection.execute(delete(turn_passages).where(turn_passages.c.turn_id == ref.turn_id))
    if passages:
        await connection.execute(
            insert(turn_passages),
            [
                {
                    "turn_id": ref.turn_id,
                    "marker": passage.marker,
                    "chunk_id": passage.chunk_id,
                    "document_id": passage.document_id,
                    "document_name": passage.document_name,
                    "page": passage.page,
                    "page_starts": list(passage.page_starts),
                    "heading_path": list(passage.heading_path),
                    "content": passage.content,
                    "score": passage.score,
                }
                for passage in passages
            ],
        )
    await events.append(connection, ref.turn_id, EventType.RETRIEVED, retrieved)


async def passages(connection: AsyncConnection, turn_id: TurnId) -> list[Passage]:
    """Read what the model is given, in the order of the markers."""
    query = select(turn_passages).where(turn_passages.c.turn_id == turn_id).order_by(turn_passages.c.marker)
    return [
        Passage(
            marker=row.marker,
            chunk_id=ChunkId(row.chunk_id),
            document_id=DocumentId(row.document_id),
            document_name=row.document_name,
            page=row.page,
            page_starts=tuple(row.page_starts),
            heading_path=tuple(row.heading_path),
            content=row.content,
            score=row.score,
        )
        for row in await connection.execute(query)
    ]


async def lock_running(connection: AsyncConnection, ref: TurnRef) -> None:
    """Keep other writers out until the commit. Raises `TurnClosed`."""
    query = select(turns.c.id).where(_is(ref), turns.c.status == TurnStatus.RUNNING).with_for_update()
    if (await connection.execute(query)).first() is None:
        raise _closed()


# Generation


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write the answer: later claims end it."""

    attempt: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation that is done."""

    input_tokens: int
    output_tokens: int


async def claim(
    connection: AsyncConnection, ref: TurnRef, *, run_id: str, run_attempt: int, model: str
) -> Claim | Draft:
    """Take over the writing, or find that it is done. Raises `TurnClosed`.

    Within a run only a later attempt takes over from an earlier one; a run that replaced another
    (a reset from the Web UI) takes over from all of it. Drops what an earlier attempt had shown.
    """
    earlier = or_(turns.c.run_id.is_distinct_from(run_id), turns.c.run_attempt <= run_attempt)
    taken = (
        update(turns)
        .where(_is(ref), turns.c.status == TurnStatus.RUNNING, turns.c.draft.is_(None), earlier)
        .values(attempt=turns.c.attempt + 1, run_id=run_id, run_attempt=run_attempt, model=model, updated_at=func.now())
        .returning(turns.c.attempt, turns.c.last_sequence)
    )
    row = (await connection.execute(taken)).one_or_none()
    if row is None:
        return await _draft(connection, ref)
    sequence = row.last_sequence
    if await events.shown_text(connection, ref.turn_id):
        reset = {"attempt": row.attempt}
        sequence = await events.append(connection, ref.turn_id, EventType.RESET, reset, attempt=row.attempt)
    return Claim(row.attempt, sequence)


async def _draft(connection: AsyncConnection, ref: TurnRef) -> Draft:
    query = select(turns.c.input_tokens, turns.c.output_tokens).where(
        _is(ref), turns.c.status == TurnStatus.RUNNING, turns.c.draft.is_not(None)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _closed()
    return Draft(row.input_tokens, row.output_tokens)


async def append_delta(connection: AsyncConnection, turn_id: TurnId, claim: Claim, after: int, delta: str) -> int:
    """Append the piece that comes after sequence `after`; a second time finds the first. Raises `TurnClosed`."""
    data = {"text": delta}
    try:
        return await events.append(connection, turn_id, EventType.DELTA, data, attempt=claim.attempt, after=after)
    except TurnClosed:
        # The connection may have broken after the commit: then the piece is there, and nothing follows it.
        query = select(turn_events.c.data).join(turns, turns.c.id == turn_events.c.turn_id).where(
            turns.c.id == turn_id, turns.c.attempt == claim.attempt, turns.c.last_sequence == after + 1,
            turns.c.status == TurnStatus.RUNNING,
            turn_events.c.sequence == after + 1, turn_events.c.type == EventType.DELTA,
        )  # fmt: skip
        if (await connection.execute(query)).scalar_one_or_none() != data:
            raise
        return after + 1


async def store_draft(
    connection: AsyncConnection, ref: TurnRef, claim: Claim, draft: str, *, model: str, usage: Usage
) -> None:
    """Store the finished text until it is persisted. Raises `TurnClosed`."""
    stored = await connection.execute(
        update(turns)
        .where(_is(ref), turns.c.status == TurnStatus.RUNNING, turns.c.attempt == claim.attempt)
        .values(draft=draft, model=model, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    )
    if stored.rowcount == 0:
        raise _closed()


# End


async def finish(
    connection: AsyncConnection, turn_id: TurnId, outcome: TurnOutcome, failure: Failure | None, *, now: datetime
) -> Message | None:
    """Store the answer, close the turn and say so; a second time answers what the first stored.

    The text is the draft or, where the generation did not come to its end, what was streamed. With a
    draft the answer is complete: a stop or a failure came after it. None where the turn is gone.
    """
    turn = (await connection.execute(select(turns).where(turns.c.id == turn_id).with_for_update())).one_or_none()
    if turn is None:
        return None
    answer = answer_id(turn_id)
    if TurnStatus(turn.status) in FINAL_TURN:
        return await message_rows.find(connection, answer)
    content = turn.draft if turn.draft is not None else await events.shown_text(connection, turn_id)
    citations = verify(content, await passages(connection, turn_id)) if content else []
    if turn.draft is not None:
        outcome = TurnOutcome.COMPLETE
    if outcome is not TurnOutcome.FAILED:
        failure = None
    values = {
        "status": outcome.value,
        "answer_id": answer,
        "draft": None,
        "error_code": failure.code if failure else None,
        "error_message": failure.message if failure else None,
        "last_sequence": turn.last_sequence + 1,
        "finished_at": now,
        "updated_at": now,
    }
    await connection.execute(update(turns).where(turns.c.id == turn_id).values(values))
    message = await message_rows.add(
        connection,
        turn.conversation_id,
        turn_id,
        answer,
        Role.ASSISTANT,
        content,
        status=MessageStatus(outcome.value),
        citations=citations,
        model=turn.model,
        usage=Usage(input_tokens=turn.input_tokens, output_tokens=turn.output_tokens),
    )
    final = {"turn_id": turn_id, "sequence": turn.last_sequence + 1, "attempt": turn.attempt}
    told = {"type": FINAL_EVENT[outcome], "data": final_data(message)}
    await connection.execute(insert(turn_events).values(final | told))
    await connection.execute(delete(turn_passages).where(turn_passages.c.turn_id == turn_id))
    await events.notify(connection, turn_id)
    return message


def final_data(answer: Message) -> dict[str, Any]:
    """Give the last event's content."""
    if answer.status is MessageStatus.FAILED and answer.error is not None:
        return {"error": answer.error.model_dump(mode="json")}
    return {"message": answer.model_dump(mode="json")}
