"""One bot asks another: a conversation and a turn of its own, named by the call, so that they are made once."""

from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import messages
from adapters.postgres.tables import bots, conversations, turns
from domain.bots import BotStatus
from domain.conversation import FINAL_TURN, Role, TurnStatus
from domain.ids import BotId, CallId, TurnId, answer_id, consultation
from domain.messages import Message
from domain.steps import TurnRef


async def open_turn(
    connection: AsyncConnection, asking: TurnRef, call: CallId, bot: BotId, question: str
) -> TurnRef | None:
    """Store the question to another bot of the same owner; None where there is no such bot that answers."""
    conversation, turn, message = consultation(call)
    ref = TurnRef(owner_id=asking.owner_id, bot_id=bot, conversation_id=conversation, turn_id=turn)
    answers = bots.c.deleting_at.is_(None) & (bots.c.status != BotStatus.INACTIVE)
    mine = select(bots.c.id).where(bots.c.id == bot, bots.c.owner_id == asking.owner_id, answers)
    if (await connection.execute(mine.with_for_update(read=True))).one_or_none() is None:
        return None
    asker = select(bots.c.name).where(bots.c.id == asking.bot_id).scalar_subquery()
    scope = {"owner_id": asking.owner_id, "bot_id": bot}
    title = func.left("Asked by " + asker, 100)
    made = insert(conversations).values(id=conversation, title=title, **scope).on_conflict_do_nothing()
    if (await connection.execute(made.returning(conversations.c.id))).one_or_none() is not None:
        depth = await depth_of(connection, asking.turn_id) + 1
        values = {"id": turn, "conversation_id": conversation, "question_id": message, "depth": depth}
        await connection.execute(insert(turns).values(values | scope))
        await messages.add(connection, conversation, turn, message, Role.USER, question)
    return ref


async def depth_of(connection: AsyncConnection, turn: TurnId) -> int:
    """Tell how many agents stand before this one."""
    return int((await connection.execute(select(turns.c.depth).where(turns.c.id == turn))).scalar_one())


async def ended(connection: AsyncConnection, call: CallId) -> tuple[bool, Message | None]:
    """Tell whether the other bot's turn is over, and its answer; one that was deleted is over without."""
    _, turn, _ = consultation(call)
    row: Row[Any] | None = (await connection.execute(select(turns.c.status).where(turns.c.id == turn))).one_or_none()
    if row is None:
        return True, None
    if TurnStatus(row.status) not in FINAL_TURN:
        return False, None
    return True, await messages.find(connection, answer_id(turn))
