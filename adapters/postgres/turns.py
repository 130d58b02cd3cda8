"""Turns: accepted, begun, drafted, finished. Every write asks whether the turn is still the writer's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import turn_events as events
from adapters.postgres import turn_passages as passage_rows
from adapters.postgres.tables import bots, conversations, messages, turns
from domain.bots import MAX_TOKENS, BotConfiguration, TurnOptions
from domain.conversation import EventType, Origin, TitleBy, TurnStatus
from domain.errors import TurnClosed
from domain.filters import EVERYTHING, DocumentFilter
from domain.ids import MessageId
from domain.messages import Usage
from domain.retrieval import Passage
from domain.steps import TurnRef

_OPEN = (TurnStatus.PENDING, TurnStatus.RUNNING)


def _closed() -> TurnClosed:
    return TurnClosed("The turn is finished, was deleted, or is written by a later attempt.")


# The statements of a turn are built once: to build one takes as long as to send it.
_IS = and_(
    turns.c.id == bindparam("turn"),
    turns.c.owner_id == bindparam("owner"),
    turns.c.conversation_id == bindparam("conversation"),
)


def _named(ref: TurnRef, **values: object) -> dict[str, object]:
    return {"turn": ref.turn_id, "owner": ref.owner_id, "conversation": ref.conversation_id, **values}


# Begin

# In one statement, so that a turn begins by one round trip.
_BEGIN = text(
    """
    WITH taken AS (
        UPDATE turns SET status = 'running', run_id = :run, updated_at = now(), last_sequence = greatest(last_sequence, 1)
        FROM (SELECT id AS before_id, last_sequence AS before FROM turns WHERE id = :turn FOR UPDATE) AS earlier
        WHERE id = before_id AND owner_id = :owner AND conversation_id = :conversation
          AND status IN ('pending', 'running')
        RETURNING id, attempt, before
    ), started AS (
        INSERT INTO turn_events (turn_id, sequence, attempt, type, data)
        SELECT id, 1, attempt, 'turn.started', jsonb_build_object('turn_id', id) FROM taken WHERE before = 0
        RETURNING turn_id
    )
    SELECT taken.id, (SELECT pg_notify('turn_events', CAST(turn_id AS text)) FROM started) AS told FROM taken
    """
)


async def begin(connection: AsyncConnection, ref: TurnRef, *, run_id: str) -> None:
    """Mark the turn running and say so, once. Raises `TurnClosed`."""
    if (await connection.execute(_BEGIN, _named(ref, run=run_id))).one_or_none() is None:
        raise _closed()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, which part of the conversation belongs to it, and how the bot is to answer."""

    id: MessageId
    content: str
    position: int
    history_from: int | None
    summary_until: MessageId | None
    title_by: TitleBy | None
    origin: Origin
    model: str | None
    temperature: float
    configuration: BotConfiguration
    within: DocumentFilter = EVERYTHING
    max_tokens: int = MAX_TOKENS
    queries: tuple[str, ...] = ()


_QUESTION = (
    select(messages.c.id, messages.c.content, messages.c.position)
    .add_columns(turns.c.history_from, turns.c.summary_until, turns.c.filter, turns.c.options, turns.c.queries)
    .add_columns(conversations.c.origin, conversations.c.title, conversations.c.title_by)
    .add_columns(bots.c.model, bots.c.temperature, bots.c.configuration)
    .join(turns, turns.c.question_id == messages.c.id)
    .join(conversations, conversations.c.id == turns.c.conversation_id)
    .join(bots, bots.c.id == turns.c.bot_id)
    .where(_IS, turns.c.status == TurnStatus.RUNNING)
)


async def question(connection: AsyncConnection, ref: TurnRef) -> Question:
    """Read the question of a running turn. Raises `TurnClosed`."""
    row = (await connection.execute(_QUESTION, _named(ref))).one_or_none()
    if row is None:
        raise _closed()
    options = TurnOptions.model_validate(row.options or {})
    return Question(
        id=MessageId(row.id),
        content=row.content,
        position=row.position,
        history_from=row.history_from,
        summary_until=row.summary_until,
        title_by=_title_by(row),
        origin=Origin(row.origin),
        model=row.model,
        temperature=row.temperature if options.temperature is None else options.temperature,
        configuration=options.instruct(BotConfiguration.model_validate(row.configuration)),
        within=EVERYTHING if row.filter is None else DocumentFilter.model_validate(row.filter),
        max_tokens=options.max_tokens or MAX_TOKENS,
        queries=tuple(row.queries or ()),
    )


def _title_by(row: Row[Any]) -> TitleBy | None:
    if row.title_by is not None:
        return TitleBy(row.title_by)
    return None if row.title is None else TitleBy.PERSON


async def announce_passages(
    connection: AsyncConnection, ref: TurnRef, passages: Sequence[Passage], retrieved: dict[str, Any]
) -> bool:
    """Store what the model will be given and say so, once for a turn; tell whether that was now. Raises `TurnClosed`."""
    if not await store_candidates(connection, ref, passages):
        return False
    await events.append(connection, ref.turn_id, EventType.RETRIEVED, retrieved)
    return True


async def store_candidates(connection: AsyncConnection, ref: TurnRef, passages: Sequence[Passage]) -> bool:
    """Store passages in place of those that are stored, until they are announced. Raises `TurnClosed`."""
    await lock_running(connection, ref)
    if await events.has_event(connection, ref.turn_id, EventType.RETRIEVED):
        return False
    await passage_rows.clear(connection, ref.turn_id)
    await passage_rows.add(connection, ref.turn_id, passages)
    return True


_LOCK = select(turns.c.id).where(_IS, turns.c.status == TurnStatus.RUNNING).with_for_update()


async def lock_running(connection: AsyncConnection, ref: TurnRef) -> None:
    """Keep other writers out until the commit. Raises `TurnClosed`."""
    if (await connection.execute(_LOCK, _named(ref))).first() is None:
        raise _closed()


# Generation


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: an attempt at a step, as `domain.runs` numbers it, in a run. Later attempts end earlier ones."""

    run_id: str
    attempt: int

    def is_late(self, row: Row[Any]) -> bool:
        """Tell whether a later attempt of the same run has taken over; a run that was reset takes over from all."""
        return bool(row.run_id == self.run_id and self.attempt < row.run_attempt < 0)

    @property
    def values(self) -> dict[str, Any]:
        """The columns that name the writer."""
        return {"run_id": self.run_id, "run_attempt": self.attempt}


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


_CLAIM = (
    update(turns)
    .where(_IS, turns.c.status == TurnStatus.RUNNING, turns.c.draft.is_(None))
    .values(
        attempt=turns.c.attempt + 1,
        run_id=bindparam("run"),
        run_attempt=bindparam("by"),
        model=bindparam("writer"),
        updated_at=func.now(),
    )
    .returning(turns.c.attempt, turns.c.last_sequence)
)
_CLAIM_FIRST = _CLAIM.where(turns.c.attempt == 0)
_CLAIM_LATER = _CLAIM.where(
    or_(
        turns.c.run_id.is_distinct_from(bindparam("run")),
        turns.c.run_attempt <= bindparam("by"),
        turns.c.run_attempt >= 0,
    )
)


async def claim_first(connection: AsyncConnection, ref: TurnRef, writer: Writer, *, model: str) -> Claim | None:
    """Take the writing of a turn that nobody has written at, by one statement; None where somebody has."""
    values = _named(ref, run=writer.run_id, by=writer.attempt, writer=model)
    row = (await connection.execute(_CLAIM_FIRST, values)).one_or_none()
    return None if row is None else Claim(row.attempt, row.last_sequence)


async def claim(
    connection: AsyncConnection, ref: TurnRef, writer: Writer, *, model: str | None = None
) -> Claim | Draft:
    """Take over the writing, or find that it is done. Raises `TurnClosed`.

    Within a run only a later attempt takes over from an earlier one; a run that replaced another
    (a reset from the Web UI) takes over from all of it. Drops what an earlier attempt had shown.
    """
    values = _named(ref, run=writer.run_id, by=writer.attempt, writer=model)
    row = (await connection.execute(_CLAIM_LATER, values)).one_or_none()
    if row is None:
        return await _draft(connection, ref)
    sequence = row.last_sequence
    if row.attempt > 1 and await events.shown_text(connection, ref.turn_id):
        reset = {"attempt": row.attempt}
        sequence = await events.append(connection, ref.turn_id, EventType.RESET, reset, attempt=row.attempt)
    return Claim(row.attempt, sequence)


async def _draft(connection: AsyncConnection, ref: TurnRef) -> Draft:
    query = select(turns.c.input_tokens, turns.c.output_tokens).where(
        _IS, turns.c.status == TurnStatus.RUNNING, turns.c.draft.is_not(None)
    )
    row = (await connection.execute(query, _named(ref))).one_or_none()
    if row is None:
        raise _closed()
    return Draft(row.input_tokens, row.output_tokens)


_STORE_DRAFT = (
    update(turns)
    .where(_IS, turns.c.status == TurnStatus.RUNNING, turns.c.attempt == bindparam("claimed"))
    .values(
        draft=bindparam("text"),
        model=bindparam("writer"),
        cut_off=bindparam("is_cut_off"),
        input_tokens=bindparam("tokens_in"),
        output_tokens=bindparam("tokens_out"),
    )
)


async def store_draft(
    connection: AsyncConnection,
    ref: TurnRef,
    claim: Claim,
    draft: str,
    *,
    model: str | None = None,
    usage: Usage | None = None,
    cut_off: bool = False,
) -> None:
    """Store the finished text until it is persisted; no model, no usage where none was asked. Raises `TurnClosed`."""
    used = usage or Usage()
    counted = {"tokens_in": used.input_tokens, "tokens_out": used.output_tokens}
    values = _named(ref, claimed=claim.attempt, text=draft, writer=model, is_cut_off=cut_off, **counted)
    stored = await connection.execute(_STORE_DRAFT, values)
    if stored.rowcount == 0:
        raise _closed()
