"""What the API does with turns: accept a message, look, stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import approvals, branches, messages, turn_ends
from adapters.postgres.tables import bots, conversations, turns
from adapters.postgres.tables import messages as message_rows
from domain.bots import BotStatus, TurnOptions
from domain.conversation import FINAL_TURN, After, Place, Role, TurnOutcome, TurnStatus
from domain.errors import InvalidParent, NotFound, StateConflict, TurnInProgress
from domain.filters import EVERYTHING, DocumentFilter
from domain.ids import BotId, ConversationId, MessageId, TurnId, UserId
from domain.messages import Message
from domain.steps import TurnRef

_OPEN = (TurnStatus.PENDING, TurnStatus.RUNNING)
_NO_MESSAGE = "You have no message of this id."


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn's row, and its answer once there is one."""

    row: Row[Any]
    answer: Message | None
    approvals: Sequence[Row[Any]] = ()

    @property
    def final(self) -> bool:
        """Tell whether nothing more will come."""
        return TurnStatus(self.row.status) in FINAL_TURN


async def accept(
    connection: AsyncConnection,
    owner: UserId,
    conversation: ConversationId,
    *,
    turn_id: TurnId,
    question_id: MessageId,
    content: str,
    after: After = Place.END,
    within: DocumentFilter = EVERYTHING,
    options: TurnOptions | None = None,
) -> TurnRef:
    """Store a message and its turn. Raises `NotFound`, `InvalidParent`, `StateConflict`, `TurnInProgress`."""
    bot = await _enter(connection, owner, conversation)
    if not isinstance(after, Place):
        await _refuse_question(connection, conversation, after)
    ref = TurnRef(owner_id=owner, bot_id=bot, conversation_id=conversation, turn_id=turn_id)
    asked = None if options is None else options.model_dump(mode="json", exclude_defaults=True)
    wanted = within.model_dump(mode="json", exclude_defaults=True)
    await _begin(connection, ref, question_id, filter=wanted or None, options=asked)
    await messages.add(connection, conversation, turn_id, question_id, Role.USER, content, after=after)
    return ref


async def _refuse_question(connection: AsyncConnection, conversation: ConversationId, parent: MessageId) -> None:
    if await branches.role_of(connection, conversation, parent, param="parent_id") is not Role.ASSISTANT:
        raise InvalidParent(
            "A message follows an answer, and this is a question. To ask it in other words, send the question's own "
            "`parent_id`; for another answer to it, regenerate it.",
            param="parent_id",
        )


async def accept_again(connection: AsyncConnection, owner: UserId, message: MessageId, *, turn_id: TurnId) -> TurnRef:
    """Store another turn for a question, or for the question of an answer. Raises what `accept` raises."""
    query = (
        select(conversations.c.id, turns.c.question_id, turns.c.answer_id, turns.c.filter, turns.c.options)
        .select_from(message_rows)
        .join(conversations, conversations.c.id == message_rows.c.conversation_id)
        .join(turns, turns.c.id == message_rows.c.turn_id)
        .where(message_rows.c.id == message, conversations.c.owner_id == owner)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(_NO_MESSAGE)
    if row.question_id == row.answer_id:
        raise StateConflict("This message is a greeting, which answers no question. Send the id of an answer to one.")
    conversation = ConversationId(row.id)
    bot = await _enter(connection, owner, conversation, unknown=_NO_MESSAGE)
    ref = TurnRef(owner_id=owner, bot_id=bot, conversation_id=conversation, turn_id=turn_id)
    await _begin(connection, ref, MessageId(row.question_id), filter=row.filter, options=row.options)
    return ref


_INSERT = insert(turns)
_ENTER = (
    select(conversations.c.bot_id, bots.c.status)
    .join(bots, bots.c.id == conversations.c.bot_id)
    .where(conversations.c.id == bindparam("conversation"), conversations.c.owner_id == bindparam("owner"))
    .where(bots.c.deleting_at.is_(None))
    .with_for_update(of=conversations)
)
_RUNNING = select(turns.c.id).where(turns.c.conversation_id == bindparam("conversation"), turns.c.status.in_(_OPEN))
_TOUCH = update(conversations).where(conversations.c.id == bindparam("conversation")).values(updated_at=func.now())
_READ = (
    select(turns)
    .join(bots, bots.c.id == turns.c.bot_id)
    .where(turns.c.id == bindparam("turn"), turns.c.owner_id == bindparam("owner"), bots.c.deleting_at.is_(None))
)
_READ_LOCKED = _READ.with_for_update(of=turns)


async def _enter(
    connection: AsyncConnection,
    owner: UserId,
    conversation: ConversationId,
    *,
    unknown: str = "You have no conversation of this id.",
) -> BotId:
    """Lock the conversation, so that of two messages at once one finds the other's turn; give its bot."""
    row = (await connection.execute(_ENTER, {"conversation": conversation, "owner": owner})).one_or_none()
    if row is None:
        raise NotFound(unknown)
    if row.status == BotStatus.INACTIVE:
        raise StateConflict("This bot is inactive. Set its status to `active`, then send the message again.")
    await _refuse_second(connection, conversation)
    return BotId(row.bot_id)


async def _begin(connection: AsyncConnection, ref: TurnRef, question_id: MessageId, **asked: object) -> None:
    scope = {"owner_id": ref.owner_id, "bot_id": ref.bot_id, "conversation_id": ref.conversation_id}
    await connection.execute(_INSERT, {"id": ref.turn_id, "question_id": question_id, **scope, **asked})
    await connection.execute(_TOUCH, {"conversation": ref.conversation_id})


async def _refuse_second(connection: AsyncConnection, conversation: ConversationId) -> None:
    # Asked for before the insert: its unique index would wait for an end that waits for the conversation.
    running = (await connection.execute(_RUNNING, {"conversation": conversation})).scalar_one_or_none()
    if running is not None:
        raise TurnInProgress(
            "The conversation is answering another message. Wait for its turn to end, or cancel it.",
            details={"turn_id": str(running)},
        )


async def read(connection: AsyncConnection, owner: UserId, turn_id: TurnId, *, lock: bool = False) -> TurnView:
    """Read a turn. Raises `NotFound`."""
    query = _READ_LOCKED if lock else _READ
    row = (await connection.execute(query, {"turn": turn_id, "owner": owner})).one_or_none()
    if row is None:
        raise NotFound("You have no turn of this id.")
    answer = None if row.answer_id is None else await messages.find(connection, row.answer_id)
    running = row.status == TurnStatus.RUNNING
    return TurnView(row, answer, await approvals.of_turn(connection, turn_id) if running else ())


async def has_others(connection: AsyncConnection, turn_id: TurnId, conversation: ConversationId) -> bool:
    """Tell whether a conversation holds other turns than those that came along with its first question."""
    asked_here = (turns.c.last_sequence > 0) | turns.c.status.in_(_OPEN)
    query = select(turns.c.id).where(turns.c.conversation_id == conversation, turns.c.id != turn_id, asked_here)
    return (await connection.execute(query.limit(1))).first() is not None


async def close_unstarted(
    connection: AsyncConnection, owner: UserId, turn_id: TurnId, *, now: datetime, run_is_gone: bool = False
) -> TurnView:
    """End a turn that no run has taken up, or whose run is gone, as stopped; leave another as it is."""
    turn = await read(connection, owner, turn_id, lock=True)
    if turn.row.status == TurnStatus.PENDING or (run_is_gone and not turn.final):
        await turn_ends.finish(connection, turn_id, TurnOutcome.PARTIAL, None, now=now)
        return await read(connection, owner, turn_id)
    return turn
