"""Users, refresh tokens, and what a user has used so far."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import (
    bots,
    conversations,
    documents,
    ingestions,
    messages,
    refresh_tokens,
    summaries,
    turns,
    users,
)
from domain.ids import UserId


async def register(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any] | None:
    """Add a user; None where the address is taken."""
    statement = postgresql.insert(users).values(dict(row)).on_conflict_do_nothing(index_elements=["email"])
    return (await connection.execute(statement.returning(*users.c))).one_or_none()


async def read(connection: AsyncConnection, user: UserId) -> Row[Any]:
    """Read a user who is there."""
    row: Row[Any] = (await connection.execute(select(users).where(users.c.id == user))).one()
    return row


async def exists(connection: AsyncConnection, user: UserId) -> bool:
    """Tell whether a token's user is still there."""
    return (await connection.execute(select(users.c.id).where(users.c.id == user))).one_or_none() is not None


async def find_by_email(connection: AsyncConnection, email: str) -> Row[Any] | None:
    """Read the user of an address, which is in lower case."""
    return (await connection.execute(select(users).where(users.c.email == email))).one_or_none()


async def change(connection: AsyncConnection, user: UserId, values: Mapping[str, Any]) -> Row[Any]:
    """Change the profile."""
    statement = update(users).where(users.c.id == user).values(**values, updated_at=func.now())
    return (await connection.execute(statement.returning(*users.c))).one()


async def usage(connection: AsyncConnection, user: UserId) -> Row[Any]:
    """Count what is there and what was spent; a deleted bot's tokens go with it."""

    def of(value: Any, table: Any, *where: Any) -> Any:
        return select(value).select_from(table).where(table.c.owner_id == user, *where).scalar_subquery()

    spent = func.coalesce(func.sum(turns.c.input_tokens + turns.c.output_tokens), 0)
    said = select(func.count()).select_from(messages).join(turns, turns.c.id == messages.c.turn_id)
    summed = select(func.coalesce(func.sum(summaries.c.input_tokens + summaries.c.output_tokens), 0))
    told = summed.join(messages, messages.c.id == summaries.c.message_id).join(turns, turns.c.id == messages.c.turn_id)
    named = func.coalesce(func.sum(conversations.c.title_input_tokens + conversations.c.title_output_tokens), 0)
    live = documents.c.status != "deleting"
    statement: Select[Any] = select(
        of(func.count(), bots, bots.c.deleting_at.is_(None)).label("bots"),
        of(func.count(), documents, live).label("documents"),
        of(func.coalesce(func.sum(documents.c.size_bytes), 0), documents, live).label("stored_bytes"),
        said.where(turns.c.owner_id == user).scalar_subquery().label("messages"),
        (
            of(spent, turns)
            + told.where(turns.c.owner_id == user).scalar_subquery()
            + of(named, conversations)
            + of(func.coalesce(func.sum(ingestions.c.model_tokens), 0), ingestions)
        ).label("model_tokens"),
    )
    row: Row[Any] = (await connection.execute(statement)).one()
    return row


# Refresh tokens


async def add_refresh_token(connection: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Store a token's hash."""
    await connection.execute(insert(refresh_tokens).values(dict(row)))


async def lock_refresh_token(connection: AsyncConnection, token_hash: bytes) -> Row[Any] | None:
    """Read a token and hold it, so that two rotations of one do not both succeed."""
    query = select(refresh_tokens).where(refresh_tokens.c.token_hash == token_hash).with_for_update()
    return (await connection.execute(query)).one_or_none()


async def spend_refresh_token(connection: AsyncConnection, token: UUID, *, now: datetime) -> None:
    """Mark a token as used."""
    await connection.execute(update(refresh_tokens).where(refresh_tokens.c.id == token).values(used_at=now))


async def revoke_family(connection: AsyncConnection, family: UUID, *, now: datetime) -> None:
    """End a login: none of its tokens works from now on."""
    await connection.execute(
        update(refresh_tokens)
        .where(refresh_tokens.c.family_id == family, refresh_tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
