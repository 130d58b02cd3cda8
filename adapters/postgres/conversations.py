"""Conversations of an owner. One of a bot that is being deleted is not there any more."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, conversations, turns
from domain.conversation import Origin, TitleBy, TurnStatus
from domain.errors import NotFound
from domain.ids import BotId, ConversationId, UserId
from domain.ports import Completion
from domain.steps import TurnRef

_OPEN = (TurnStatus.PENDING, TurnStatus.RUNNING)


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
    """Store a conversation; the caller holds its bot."""
    await connection.execute(insert(conversations).values(dict(row)))
    return _found((await connection.execute(_query(conversations.c.id == row["id"]))).one_or_none())


async def page(
    connection: AsyncConnection, owner: UserId, bot: BotId, window: Window, *, origin: Origin | None = None
) -> list[Row[Any]]:
    """List the conversations with a bot, or those that came in by one door."""
    query = _query(conversations.c.owner_id == owner, conversations.c.bot_id == bot)
    if origin is not None:
        query = query.where(conversations.c.origin == origin)
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
    titled = {"title_by": TitleBy.PERSON} if "title" in values else {}
    await connection.execute(update(conversations).where(where).values(**values, **titled, updated_at=func.now()))
    return await read(connection, owner, conversation)


async def lock(connection: AsyncConnection, conversation: ConversationId) -> None:
    """Keep new messages out until the transaction ends."""
    await connection.execute(select(conversations.c.id).where(conversations.c.id == conversation).with_for_update())


async def title_by_question(connection: AsyncConnection, conversation: ConversationId, title: str | None) -> None:
    """Name a conversation by a question, if nobody has named it."""
    unnamed = (conversations.c.id == conversation, conversations.c.title.is_(None), conversations.c.title_by.is_(None))
    await connection.execute(update(conversations).where(*unnamed).values(title=title, title_by=TitleBy.QUESTION))


async def title_by_model(connection: AsyncConnection, ref: TurnRef, title: str, completion: Completion) -> None:
    """Name a conversation as a model does, once, and not where a person has named it meanwhile."""
    by_question = (
        conversations.c.id == ref.conversation_id,
        conversations.c.owner_id == ref.owner_id,
        conversations.c.title_by == TitleBy.QUESTION,
    )
    values = {
        "title": title,
        "title_by": TitleBy.MODEL,
        "title_input_tokens": completion.input_tokens,
        "title_output_tokens": completion.output_tokens,
    }
    await connection.execute(update(conversations).where(*by_question).values(values))


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
