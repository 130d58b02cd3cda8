"""API keys, by the hash of their secret."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import api_keys
from domain.ids import ApiKeyId, UserId

_TOUCH_EVERY = timedelta(minutes=1)  # a write per request would cost more than the date is worth


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
    """Store a key."""
    return (await connection.execute(insert(api_keys).values(dict(row)).returning(*api_keys.c))).one()


_BY_SECRET = select(api_keys).where(api_keys.c.secret_hash == bindparam("secret"))


async def find_by_secret(connection: AsyncConnection, secret_hash: bytes) -> Row[Any] | None:
    """Read a key."""
    return (await connection.execute(_BY_SECRET, {"secret": secret_hash})).one_or_none()


async def touch(connection: AsyncConnection, key: ApiKeyId, *, now: datetime) -> None:
    """Remember that the key was used, to the minute."""
    stale = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < now - _TOUCH_EVERY)
    await connection.execute(update(api_keys).where(api_keys.c.id == key, stale).values(last_used_at=now))


async def page(connection: AsyncConnection, user: UserId, window: Window) -> list[Row[Any]]:
    """List a user's keys."""
    query = select(api_keys).where(api_keys.c.user_id == user)
    return list(await connection.execute(keyset(query, [api_keys.c.created_at, api_keys.c.id], window)))


async def remove(connection: AsyncConnection, user: UserId, key: ApiKeyId) -> bool:
    """Delete a key; False where the user has none of this id."""
    statement = delete(api_keys).where(api_keys.c.user_id == user, api_keys.c.id == key)
    return (await connection.execute(statement.returning(api_keys.c.id))).one_or_none() is not None
