"""Crawls as their steps write them. A write carries the run's epoch and holds the crawl's row: late ones are refused.

Locks go in the order bot, crawl, document. Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import bots
from adapters.postgres.tables import crawl_pages as pages
from adapters.postgres.tables import crawls as table
from domain.crawls import CrawlRef, CrawlStatus, PageState
from domain.errors import CrawlClosed, NotFound, RobotsDisallowed
from domain.ids import CrawlPageId, DocumentId, crawl_page_id
from domain.steps import CloseCrawl, PagesFetched


@dataclass(frozen=True, slots=True)
class Waiting:
    """A page that this run has yet to come to."""

    id: CrawlPageId
    url: str
    depth: int
    known: bool  # an earlier run came to it
    had_document: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a page."""

    state: PageState
    http_status: int | None = None
    document_id: DocumentId | None = None
    code: str | None = None
    message: str | None = None


async def begin(connection: AsyncConnection, ref: CrawlRef, *, run_id: str, now: datetime) -> None:
    """Take a crawl up; again where the run goes on under another id. Raises `CrawlClosed`."""
    await _hold(connection, ref, (CrawlStatus.PENDING, CrawlStatus.RUNNING))
    await _change(connection, ref, {"status": CrawlStatus.RUNNING, "run_id": run_id, "updated_at": now})


async def hold(connection: AsyncConnection, ref: CrawlRef) -> Row[Any]:
    """Hold a running crawl, and its bot, until the transaction ends. Raises `CrawlClosed`."""
    try:
        await bots.hold(connection, ref.owner_id, ref.bot_id)
    except NotFound as error:
        raise _closed() from error
    return await _hold(connection, ref, (CrawlStatus.RUNNING,))


async def surveyed(
    connection: AsyncConnection,
    ref: CrawlRef,
    *,
    scope_url: str,
    robots: str,
    follow_links: bool,
    urls: Sequence[str],
    now: datetime,
) -> int:
    """Write down what the site is, and the pages to begin with; answers how many pages are known."""
    row = await hold(connection, ref)
    values = {"scope_url": scope_url, "robots": robots, "follow_links": follow_links, "updated_at": now}
    await _change(connection, ref, values)
    return await discover(connection, row, urls, depth=0)


async def waiting(connection: AsyncConnection, ref: CrawlRef, *, limit: int) -> list[Waiting]:
    """Give pages that this run has yet to come to, the nearest to the start first."""
    query = (
        select(pages)
        .where(pages.c.crawl_id == ref.crawl_id, pages.c.epoch < ref.epoch)
        .order_by(pages.c.depth, pages.c.created_at, pages.c.id)
        .limit(limit)
    )
    return [
        Waiting(CrawlPageId(row.id), row.url, row.depth, row.epoch > 0, row.document_id is not None)
        for row in await connection.execute(query)
    ]


async def still_waits(connection: AsyncConnection, ref: CrawlRef, page: CrawlPageId) -> bool:
    """Tell whether the page is yet to be settled; the crawl is held."""
    query = select(pages.c.epoch).where(pages.c.id == page)
    epoch = (await connection.execute(query)).scalar_one_or_none()
    return epoch is not None and epoch < ref.epoch


async def settle(
    connection: AsyncConnection, ref: CrawlRef, page: CrawlPageId, settled: Settled, *, now: datetime
) -> None:
    """Write down what became of a page; the crawl is held. A page that failed or is gone keeps its document."""
    kept = pages.c.document_id if settled.document_id is None else settled.document_id
    values = {
        "state": settled.state,
        "epoch": ref.epoch,
        "http_status": settled.http_status,
        "document_id": kept,
        "error_code": settled.code,
        "error_message": settled.message,
        "updated_at": now,
    }
    await connection.execute(update(pages).where(pages.c.id == page).values(values))
    await _change(connection, ref, {"updated_at": now})


async def discover(connection: AsyncConnection, crawl: Row[Any], urls: Sequence[str], *, depth: int) -> int:
    """Add pages that are not known, as many as the crawl may have; answers how many it has. The crawl is held.

    Pages that robots.txt forbids cost no request and do not count.
    """
    counted = (pages.c.crawl_id == crawl.id) & pages.c.error_code.is_distinct_from(RobotsDisallowed.code)
    count = int((await connection.execute(select(func.count()).select_from(pages).where(counted))).scalar_one())
    rows = [
        {"id": crawl_page_id(crawl.id, url), "crawl_id": crawl.id, "url": url, "depth": depth}
        for url in dict.fromkeys(urls)
    ]
    present: set[Any] = set()
    if rows:
        query = select(pages.c.id).where(pages.c.id.in_([row["id"] for row in rows]))
        present = set((await connection.execute(query)).scalars())
    fresh = [row for row in rows if row["id"] not in present][: max(crawl.max_pages - count, 0)]
    if fresh:
        await connection.execute(postgresql.insert(pages).on_conflict_do_nothing(), fresh)
    return count + len(fresh)


async def progress(connection: AsyncConnection, ref: CrawlRef) -> PagesFetched:
    """Count this run's pages."""
    settled = func.count().filter(pages.c.epoch >= ref.epoch)
    query = select(settled.label("settled"), func.count().label("total")).where(pages.c.crawl_id == ref.crawl_id)
    row = (await connection.execute(query)).one()
    return PagesFetched(settled=row.settled, waiting=row.total - row.settled)


async def close(connection: AsyncConnection, end: CloseCrawl, *, now: datetime) -> bool:
    """End a run. False where it has ended already."""
    try:
        await _hold(connection, end.ref, (CrawlStatus.PENDING, CrawlStatus.RUNNING))
    except CrawlClosed:
        return False
    values = {
        "status": end.outcome,
        "error_code": end.code,
        "error_message": end.message,
        "finished_at": now,
        "updated_at": now,
    }
    await _change(connection, end.ref, values)
    return True


async def _hold(connection: AsyncConnection, ref: CrawlRef, statuses: tuple[CrawlStatus, ...]) -> Row[Any]:
    query = select(table).where(table.c.id == ref.crawl_id).with_for_update(key_share=True)
    row = (await connection.execute(query)).one_or_none()
    if row is None or row.epoch != ref.epoch or row.status not in statuses:
        raise _closed()
    return row


async def _change(connection: AsyncConnection, ref: CrawlRef, values: dict[str, Any]) -> None:
    await connection.execute(update(table).where(table.c.id == ref.crawl_id).values(values))


def _closed() -> CrawlClosed:
    return CrawlClosed("The crawl has ended, runs again, or is being deleted.")
