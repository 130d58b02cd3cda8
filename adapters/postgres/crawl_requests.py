"""What a person asks of crawls by REST: begin, look, cancel, refresh. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import bots
from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots as bots_table
from adapters.postgres.tables import crawl_pages as pages
from adapters.postgres.tables import crawls as table
from adapters.postgres.tables import documents
from domain.crawls import CrawlMode, CrawlRef, CrawlStatus, PageState, require_ended, require_running
from domain.errors import NotFound
from domain.ids import BotId, CrawlId, UserId


@dataclass(slots=True)
class Counts:
    """A crawl's pages by what became of them, those that still wait, and its documents by status."""

    states: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    documents: dict[str, int] = field(default_factory=dict)


async def add(
    connection: AsyncConnection, owner: UserId, bot: BotId, crawl: CrawlId,
    *, url: str, mode: CrawlMode, max_pages: int, max_depth: int,
) -> Row[Any]:  # fmt: skip
    """Accept a crawl. Raises `NotFound`."""
    await bots.hold(connection, owner, bot)
    row = {"id": crawl, "owner_id": owner, "bot_id": bot, "url": url, "mode": mode,
           "max_pages": max_pages, "max_depth": max_depth}  # fmt: skip
    return (await connection.execute(insert(table).values(row).returning(*table.c))).one()


async def read(connection: AsyncConnection, owner: UserId, crawl: CrawlId, *, lock: bool = False) -> Row[Any]:
    """Read an owner's crawl. Raises `NotFound`."""
    query = _visible(owner).where(table.c.id == crawl)
    row: Row[Any] | None = (
        await connection.execute(query.with_for_update(of=table, key_share=True) if lock else query)
    ).one_or_none()
    if row is None:
        raise NotFound("You have no crawl of this id.")
    return row


async def page(connection: AsyncConnection, owner: UserId, bot: BotId, window: Window) -> list[Row[Any]]:
    """List a bot's crawls."""
    query = _visible(owner).where(table.c.bot_id == bot)
    return list(await connection.execute(keyset(query, [table.c.created_at, table.c.id], window)))


async def pages_of(
    connection: AsyncConnection, crawl: CrawlId, window: Window, *, state: PageState | None = None
) -> list[Row[Any]]:
    """List a crawl's pages, in the order in which they were found."""
    query = select(pages).where(pages.c.crawl_id == crawl)
    if state is not None:
        query = query.where(pages.c.state == state)
    return list(await connection.execute(keyset(query, [pages.c.created_at, pages.c.id], window)))


async def counts(connection: AsyncConnection, crawls: Sequence[UUID]) -> dict[UUID, Counts]:
    """Count the pages and documents of crawls."""
    found = {crawl: Counts() for crawl in crawls}
    waits = (pages.c.epoch < table.c.epoch).label("waits")
    mine = pages.c.crawl_id.in_(crawls)
    by_state = (
        select(pages.c.crawl_id, pages.c.state, waits, func.count().label("number"))
        .join(table, table.c.id == pages.c.crawl_id)
        .where(mine)
        .group_by(pages.c.crawl_id, pages.c.state, waits)
    )
    for row in await connection.execute(by_state):
        counted = found[row.crawl_id]
        if row.waits:
            counted.waiting += row.number
        else:
            counted.states[row.state] = row.number
    distinct = func.count(documents.c.id.distinct())
    by_status = (
        select(pages.c.crawl_id, documents.c.status, distinct.label("number"))
        .join(documents, documents.c.id == pages.c.document_id)
        .where(mine)
        .group_by(pages.c.crawl_id, documents.c.status)
    )
    for row in await connection.execute(by_status):
        found[row.crawl_id].documents[row.status] = row.number
    return found


async def cancel(connection: AsyncConnection, owner: UserId, crawl: CrawlId, *, now: datetime) -> Row[Any]:
    """Cancel at once what nobody took up; else write the wish down, so that housekeeping repeats it if need be."""
    row = await read(connection, owner, crawl, lock=True)
    require_running(CrawlStatus(row.status))
    wish = {"cancel_requested_at": func.coalesce(table.c.cancel_requested_at, now), "updated_at": now}
    if row.status == CrawlStatus.PENDING:
        wish |= {"status": CrawlStatus.CANCELLED, "finished_at": now}
    return await _change(connection, owner, crawl, wish)


async def refresh(connection: AsyncConnection, owner: UserId, crawl: CrawlId) -> Row[Any]:
    """Queue another run over the pages that are known, and those that it will find."""
    row = await read(connection, owner, crawl, lock=True)
    require_ended(CrawlStatus(row.status))
    values = {
        "status": CrawlStatus.PENDING,
        "epoch": table.c.epoch + 1,
        "run_id": None,
        "cancel_requested_at": None,
        "error_code": None,
        "error_message": None,
        "finished_at": None,
        "updated_at": func.now(),
    }
    return await _change(connection, owner, crawl, values)


def ref_of(row: Row[Any]) -> CrawlRef:
    """Name a crawl's run by its row."""
    return CrawlRef(owner_id=UserId(row.owner_id), bot_id=BotId(row.bot_id), crawl_id=CrawlId(row.id), epoch=row.epoch)


async def _change(connection: AsyncConnection, owner: UserId, crawl: CrawlId, values: dict[str, Any]) -> Row[Any]:
    await connection.execute(update(table).where(table.c.id == crawl).values(values))
    return await read(connection, owner, crawl)


def _visible(owner: UserId) -> Select[Any]:
    return (
        select(table)
        .join(bots_table, bots_table.c.id == table.c.bot_id)
        .where(table.c.owner_id == owner, bots_table.c.owner_id == owner, bots_table.c.deleting_at.is_(None))
    )
