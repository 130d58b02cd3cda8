"""Where items stood in a list that were deleted from it, so that the page behind them can still be asked for.

A client that walks a list and deletes what it gets asks for the page after an item that is gone.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import list_edges
from domain.errors import NotFound


async def leave(connection: AsyncConnection, list_id: UUID, item: UUID, row: Row[Any]) -> None:
    """Remember where a row that goes stood, under the id that the list shows for it."""
    place = {"row_created_at": row.created_at, "row_id": row.id}
    statement = postgresql.insert(list_edges).values(list_id=list_id, item_id=item, **place)
    await connection.execute(statement.on_conflict_do_update(index_elements=["list_id", "item_id"], set_=place))


async def find(connection: AsyncConnection, list_id: UUID, item: UUID) -> tuple[str, str]:
    """Give the place of an item that is gone, as a window has it. Raises `NotFound`."""
    query = select(list_edges).where(list_edges.c.list_id == list_id, list_edges.c.item_id == item)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("The list has no item of this id.")
    return row.row_created_at.isoformat(), str(row.row_id)
