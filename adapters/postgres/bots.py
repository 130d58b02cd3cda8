"""Bots. One that is being deleted is not there any more."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, deletions, documents
from domain.bots import Bot, BotConfiguration, BotStatus
from domain.documents import DocumentStatus
from domain.errors import NotFound
from domain.ids import BotId, UserId


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
    """Store a bot."""
    return (await connection.execute(insert(bots).values(dict(row)).returning(*bots.c))).one()


async def read(connection: AsyncConnection, owner: UserId, bot: BotId, *, lock: bool = False) -> Row[Any]:
    """Read an owner's bot. Raises `NotFound`; with `lock`, holds it against deletion and other changes."""
    query = select(bots).where(_is(owner, bot))
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound("You have no bot of this id.")
    return row


async def hold(connection: AsyncConnection, owner: UserId, bot: BotId) -> None:
    """Make sure that the owner has the bot until the transaction ends, and that no deletion begins meanwhile."""
    query = select(bots.c.id).where(_is(owner, bot)).with_for_update(read=True)
    if (await connection.execute(query)).one_or_none() is None:
        raise NotFound("You have no bot of this id.")


async def load(connection: AsyncConnection, owner: UserId, bot: BotId) -> Bot:
    """Read a bot as a turn needs it. Raises `NotFound`."""
    row = await read(connection, owner, bot)
    return Bot(
        id=BotId(row.id),
        owner_id=UserId(row.owner_id),
        name=row.name,
        status=BotStatus(row.status),
        model=row.model,
        temperature=row.temperature,
        configuration=BotConfiguration.model_validate(row.configuration),
    )


async def named(connection: AsyncConnection, owner: UserId, name: str) -> list[BotId]:
    """Give the bots of a name; two are as good as many."""
    query = select(bots.c.id).where(bots.c.owner_id == owner, bots.c.name == name, bots.c.deleting_at.is_(None))
    return [BotId(id_) for id_ in (await connection.execute(query.limit(2))).scalars()]


async def page(connection: AsyncConnection, owner: UserId, window: Window) -> list[Row[Any]]:
    """List an owner's bots."""
    query = select(bots).where(bots.c.owner_id == owner, bots.c.deleting_at.is_(None))
    return list(await connection.execute(keyset(query, [bots.c.created_at, bots.c.id], window)))


async def change(connection: AsyncConnection, owner: UserId, bot: BotId, values: Mapping[str, Any]) -> Row[Any]:
    """Change a bot. Raises `NotFound`."""
    statement = update(bots).where(_is(owner, bot)).values(**values, updated_at=func.now()).returning(*bots.c)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("You have no bot of this id.")
    return row


async def begin_deletion(connection: AsyncConnection, owner: UserId, bot: BotId, *, now: datetime) -> Row[Any]:
    """Take the bot and its documents from sight, and write the receipt. Raises `NotFound`."""
    await change(connection, owner, bot, {"deleting_at": now})
    await connection.execute(
        update(documents)
        .where(documents.c.bot_id == bot)
        .values(status=DocumentStatus.DELETING, active_ingestion_id=None, stage=None, updated_at=now)
    )
    row = {"id": bot, "owner_id": owner, "bot_id": bot}
    statement = postgresql.insert(deletions).values(row).on_conflict_do_nothing(index_elements=["id"])
    await connection.execute(statement)
    return (await connection.execute(select(deletions).where(deletions.c.id == bot))).one()


def _is(owner: UserId, bot: BotId) -> Any:
    return (bots.c.id == bot) & (bots.c.owner_id == owner) & bots.c.deleting_at.is_(None)
