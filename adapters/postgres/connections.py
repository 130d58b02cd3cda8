"""Connections of an owner. What is sealed is read by the tools' steps only."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import connections
from domain.connections import Catalogue, ConnectionKind
from domain.errors import NotFound
from domain.ids import ConnectionId, UserId

_SHOWN = tuple(column for column in connections.c if column.name not in ("sealed", "catalogue"))


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
    """Store a connection."""
    return (await connection.execute(insert(connections).values(dict(row)).returning(*_SHOWN))).one()


async def page(connection: AsyncConnection, owner: UserId, window: Window) -> list[Row[Any]]:
    """List an owner's connections, without their secrets."""
    query = select(*_SHOWN).where(connections.c.owner_id == owner)
    return list(await connection.execute(keyset(query, [connections.c.created_at, connections.c.id], window)))


async def read(connection: AsyncConnection, owner: UserId, id_: ConnectionId) -> Row[Any]:
    """Read a connection without its secret. Raises `NotFound`."""
    query = select(*_SHOWN).where(connections.c.owner_id == owner, connections.c.id == id_)
    return _found((await connection.execute(query)).one_or_none())


async def remove(connection: AsyncConnection, owner: UserId, id_: ConnectionId) -> None:
    """Delete a connection with its secret. Raises `NotFound`."""
    query = delete(connections).where(connections.c.owner_id == owner, connections.c.id == id_)
    _found((await connection.execute(query.returning(connections.c.id))).one_or_none())


async def sealed(connection: AsyncConnection, owner: UserId, id_: ConnectionId, kind: ConnectionKind) -> bytes:
    """Read what is sealed of a connection of this kind. Raises `NotFound`."""
    mine = (connections.c.owner_id == owner) & (connections.c.id == id_) & (connections.c.kind == kind)
    row = _found((await connection.execute(select(connections.c.sealed).where(mine))).one_or_none())
    return bytes(row.sealed)


async def kinds(connection: AsyncConnection, owner: UserId, ids: Sequence[ConnectionId]) -> dict[UUID, ConnectionKind]:
    """Tell which of these the owner has, and of what kind."""
    query = select(connections.c.id, connections.c.kind).where(
        connections.c.owner_id == owner, connections.c.id.in_(ids)
    )
    return {UUID(str(row.id)): ConnectionKind(row.kind) for row in await connection.execute(query)}


async def catalogues(
    connection: AsyncConnection, owner: UserId, ids: Sequence[ConnectionId]
) -> dict[ConnectionId, Catalogue]:
    """Read what servers of tools offered when they were asked last."""
    mine = (connections.c.owner_id == owner) & connections.c.id.in_(ids) & connections.c.catalogue.is_not(None)
    query = select(connections.c.id, connections.c.catalogue).where(mine)
    rows = (await connection.execute(query)).all() if ids else ()
    return {ConnectionId(UUID(str(row.id))): Catalogue.model_validate(row.catalogue) for row in rows}


async def uncatalogued(
    connection: AsyncConnection, owner: UserId, ids: Sequence[ConnectionId], *, since: datetime
) -> list[ConnectionId]:
    """Name the servers of tools that were not asked since then."""
    mine = (connections.c.owner_id == owner) & connections.c.id.in_(ids)
    query = select(connections.c.id).where(mine, func.coalesce(connections.c.catalogued_at <= since, True))
    return [ConnectionId(UUID(str(id_))) for id_ in (await connection.execute(query)).scalars()]


async def keep_catalogue(
    connection: AsyncConnection, owner: UserId, id_: ConnectionId, catalogue: Catalogue | None, *, at: datetime
) -> None:
    """Store what a server offers, and when it was asked; without a catalogue it offers what it did before."""
    mine = (connections.c.owner_id == owner) & (connections.c.id == id_)
    offered = {} if catalogue is None else {"catalogue": catalogue.model_dump(mode="json")}
    await connection.execute(update(connections).where(mine).values(offered | {"catalogued_at": at}))


def _found(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise NotFound("You have no connection of this id.")
    return row
