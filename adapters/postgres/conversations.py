"""Conversations of an owner. One of a bot that is being deleted is not there any more."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, conversations, turns
from domain.conversation import TurnStatus
from domain.errors import NotFound
from domain.ids import BotId, ConversationId, UserId

_OPEN = (TurnStatus.PENDING, TurnStatus.RUNNING)


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
    """Store a conversation; the caller holds its bot."""
    await connection.execute(insert(conversations).values(dict(row)))
    return _found((await connection.execute(_query(conversations.c.id == row["id"]))).one_or_none())


async def page(connection: AsyncConnection, owner: UserId, bot: BotId, window: Window) -> list[Row[Any]]:
    """List the conversations with a bot."""
    query = _query(conversations.c.owner_id == owner, conversations.c.bot_id == bot)
    return list(await connection.execute(keyset(query, [conversations.c.created_at, conversations.c.id], window)))


async def read(connection: AsyncConnection, owner: UserId, conversation: ConversationId) -> Row[Any]:
    """Read a conversation. Raises `NotFound`."""
    query = _query(conversations.c.owner_id == owner, conversations.c.id == conversation)
    return _found((await connection.execute(query)).one_or_none())


async def change(
    connection: AsyncConnection, owner: UserId, conversation: ConversationId, values: Mapping[str, Any]
) -> Row[Any]:
    """Change a conversation. Raises `NotFound`."""
    await read(connection, owner, conversation)
    where = conversations.c.id == conversation
    await connection.execute(update(conversations).where(where).values(**values, updated_at=func.now()))
    return await read(connection, owner, conversation)


async def remove(connection: AsyncConnection, owner: UserId, conversation: ConversationId) -> str | None:
    """Delete a conversation with all that is in it; give the run that was answering. Raises `NotFound`."""
    await read(connection, owner, conversation)
    # In the order of a turn's own last step, which locks its turn before it refers to the conversation.
    locked = select(turns.c.status, turns.c.run_id).where(turns.c.conversation_id == conversation).order_by(turns.c.id)
    rows = (await connection.execute(locked.with_for_update())).all()
    await connection.execute(delete(conversations).where(conversations.c.id == conversation))
    return next((row.run_id for row in rows if row.status == TurnStatus.RUNNING), None)


def _query(*where: ColumnElement[bool]) -> Select[Any]:
    running = select(turns.c.id).where(turns.c.conversation_id == conversations.c.id, turns.c.status.in_(_OPEN))
    return (
        select(conversations, running.scalar_subquery().label("running_turn_id"))
        .join(bots, bots.c.id == conversations.c.bot_id)
        .where(bots.c.deleting_at.is_(None), *where)
    )


def _found(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise NotFound("You have no conversation of this id.")
    return row
