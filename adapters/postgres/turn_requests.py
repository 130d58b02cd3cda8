"""What the API does with turns: accept a message, look, stop."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import messages
from adapters.postgres import turns as turn_rows
from adapters.postgres.tables import bots, conversations, turns
from domain.bots import BotStatus
from domain.conversation import FINAL_TURN, Role, TurnOutcome, TurnStatus
from domain.errors import NotFound, StateConflict, TurnInProgress
from domain.ids import BotId, ConversationId, MessageId, TurnId, UserId
from domain.messages import Message
from domain.steps import TurnRef

_OPEN = (TurnStatus.PENDING, TurnStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn's row, and its answer once there is one."""

    row: Row[Any]
    answer: Message | None

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
) -> TurnRef:
    """Store a message and its turn. Raises `NotFound`, `StateConflict`, `TurnInProgress`.

    The conversation's row is locked, so that of two messages at once one finds the other's turn.
    """
    query = (
        select(conversations.c.bot_id, bots.c.status)
        .join(bots, bots.c.id == conversations.c.bot_id)
        .where(conversations.c.id == conversation, conversations.c.owner_id == owner, bots.c.deleting_at.is_(None))
        .with_for_update(of=conversations)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("You have no conversation of this id.")
    if row.status == BotStatus.INACTIVE:
        raise StateConflict("This bot is inactive. Set its status to `active`, then send the message again.")
    await _refuse_second(connection, conversation)
    bot = BotId(row.bot_id)
    await connection.execute(
        insert(turns).values(
            id=turn_id, owner_id=owner, bot_id=bot, conversation_id=conversation, question_id=question_id
        )
    )
    await messages.add(connection, conversation, turn_id, question_id, Role.USER, content)
    touched = update(conversations).where(conversations.c.id == conversation).values(updated_at=func.now())
    await connection.execute(touched)
    return TurnRef(owner_id=owner, bot_id=bot, conversation_id=conversation, turn_id=turn_id)


async def _refuse_second(connection: AsyncConnection, conversation: ConversationId) -> None:
    query = select(turns.c.id).where(turns.c.conversation_id == conversation, turns.c.status.in_(_OPEN))
    running = (await connection.execute(query)).scalar_one_or_none()
    if running is not None:
        raise TurnInProgress(
            "The conversation is answering another message. Wait for its turn to end, or cancel it.",
            details={"turn_id": str(running)},
        )


async def read(connection: AsyncConnection, owner: UserId, turn_id: TurnId, *, lock: bool = False) -> TurnView:
    """Read a turn. Raises `NotFound`."""
    query = (
        select(turns)
        .join(bots, bots.c.id == turns.c.bot_id)
        .where(turns.c.id == turn_id, turns.c.owner_id == owner, bots.c.deleting_at.is_(None))
    )
    row = (await connection.execute(query.with_for_update(of=turns) if lock else query)).one_or_none()
    if row is None:
        raise NotFound("You have no turn of this id.")
    answer = None if row.answer_id is None else await messages.find(connection, row.answer_id)
    return TurnView(row, answer)


async def close_unstarted(
    connection: AsyncConnection, owner: UserId, turn_id: TurnId, *, now: datetime, run_is_gone: bool = False
) -> TurnView:
    """End a turn that no run has taken up, or whose run is gone, as stopped; leave another as it is."""
    turn = await read(connection, owner, turn_id, lock=True)
    if turn.row.status == TurnStatus.PENDING or (run_is_gone and not turn.final):
        await turn_rows.finish(connection, turn_id, TurnOutcome.PARTIAL, None, now=now)
        return await read(connection, owner, turn_id)
    return turn
