"""Pages of lists that go by ids: `after` is the last id of the page before, `before` the first of the page after."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import list_edges
from adapters.postgres.paging import Order, Window
from api.openai.schemas.base import Listed, Shown
from domain.errors import InvalidRequest, NotFound

ItemT = TypeVar("ItemT", bound=Shown)
_OTHER = {Order.ASC: Order.DESC, Order.DESC: Order.ASC}


@dataclass(frozen=True, slots=True)
class Asked:
    """The page that is asked for."""

    limit: int
    order: Order
    after: str | None
    before: str | None

    async def fetch(
        self,
        connection: AsyncConnection,
        list_id: UUID,
        read: Callable[[UUID], Awaitable[Row[Any]]],
        page: Callable[[Window], Awaitable[Sequence[Row[Any]]]],
    ) -> tuple[list[Row[Any]], bool]:
        """Give the page's rows in their order, and whether more follow in the direction that was asked for.

        `list_id` is the one under which `list_edges` remembers what was deleted from the list.
        """
        window = Window(limit=self.limit, order=self.order)
        named, param = (self.before, "before") if self.before is not None else (self.after, "after")
        if named is not None:
            window = replace(window, after=await _edge(connection, list_id, read, named, param))
        if self.before is not None:
            window = replace(window, order=_OTHER[self.order])
        rows = list(await page(window))
        shown = rows[: self.limit]
        return shown if self.before is None else shown[::-1], len(rows) > len(shown)


async def _edge(
    connection: AsyncConnection, list_id: UUID, read: Callable[[UUID], Awaitable[Row[Any]]], named: str, param: str
) -> tuple[str, str]:
    try:
        return await _place(connection, list_id, read, UUID(named))
    except (ValueError, NotFound):
        raise InvalidRequest("The list has no item of this id. Begin it anew.", param=param) from None


async def _place(
    connection: AsyncConnection, list_id: UUID, read: Callable[[UUID], Awaitable[Row[Any]]], item: UUID
) -> tuple[str, str]:
    try:
        row = await read(item)
    except NotFound:
        return await list_edges.find(connection, list_id, item)
    return row.created_at.isoformat(), str(row.id)


def listed(items: Sequence[ItemT], more: bool) -> Listed[ItemT]:
    """Make the page; every item has an `id`."""
    ids = [str(item.id) for item in items]  # type: ignore[attr-defined]  # of every item of a list
    return Listed[ItemT](
        data=list(items), first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, has_more=more
    )


_Order = Annotated[Order, Query(description="By time of creation; `desc` is newest first.")]
_After = Annotated[str | None, Query(max_length=100, description="The last id of the page before.")]
_Before = Annotated[str | None, Query(max_length=100, description="The first id of the page after.")]


def _page_of(most: int, *, default: int) -> Callable[..., Asked]:
    def page(
        limit: Annotated[int, Query(ge=1, le=most, description="Items a page.")] = default,
        order: _Order = Order.DESC,
        after: _After = None,
        before: _Before = None,
    ) -> Asked:
        return Asked(limit, order, after, before)

    return page


PageDep = Annotated[Asked, Depends(_page_of(100, default=20))]
LongPageDep = Annotated[Asked, Depends(_page_of(10_000, default=10_000))]
