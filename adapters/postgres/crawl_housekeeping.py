"""What housekeeping and deletions look for among crawls. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.crawl_requests import ref_of
from adapters.postgres.crawls import close
from adapters.postgres.tables import bots, crawl_pages, crawls
from domain.crawls import CrawlRef, CrawlStatus
from domain.ids import BotId, CrawlId
from domain.steps import CloseCrawl

WORKFLOW_LOST = "workflow_lost"
_LOST = (
    "The crawl was stopped from outside before it finished. Press refresh: pages that have not changed cost nothing."
)


@dataclass(frozen=True, slots=True)
class UnfinishedCrawl:
    """A crawl that should have a run, as it was when it was looked at."""

    ref: CrawlRef
    cancelled: bool
    updated_at: datetime


async def pending_crawls(connection: AsyncConnection, *, before: datetime, limit: int) -> list[CrawlRef]:
    """Find crawls that were accepted, and not taken up since."""
    query = (
        select(crawls)
        .join(bots, bots.c.id == crawls.c.bot_id)
        .where(crawls.c.status == CrawlStatus.PENDING, crawls.c.updated_at < before, bots.c.deleting_at.is_(None))
        .order_by(crawls.c.updated_at)
        .limit(limit)
    )
    return [ref_of(row) for row in await connection.execute(query)]


async def unwanted_crawls(connection: AsyncConnection, *, before: datetime, limit: int) -> list[CrawlId]:
    """Find crawls that a person cancelled and that run on: the message may have been lost in a crash."""
    query = (
        select(crawls.c.id)
        .where(crawls.c.status == CrawlStatus.RUNNING, crawls.c.cancel_requested_at < before)
        .order_by(crawls.c.cancel_requested_at)
        .limit(limit)
    )
    return [CrawlId(found) for found in (await connection.execute(query)).scalars()]


async def unfinished_crawls(connection: AsyncConnection, *, before: datetime) -> list[UnfinishedCrawl]:
    """Find crawls that run, with nothing new since `before`."""
    query = select(crawls).where(crawls.c.status == CrawlStatus.RUNNING, crawls.c.updated_at < before)
    return [
        UnfinishedCrawl(ref_of(row), row.cancel_requested_at is not None, row.updated_at)
        for row in await connection.execute(query)
    ]


async def lose_crawl(connection: AsyncConnection, seen: UnfinishedCrawl, *, now: datetime) -> bool:
    """Close a crawl whose run is gone. False, and nothing changed, where anything happened since `seen`."""
    unchanged = (crawls.c.id == seen.ref.crawl_id) & (crawls.c.updated_at == seen.updated_at)
    query = select(crawls.c.id).where(unchanged).with_for_update(key_share=True)
    if (await connection.execute(query)).one_or_none() is None:
        return False
    if seen.cancelled:  # a person gets what was asked for
        end = CloseCrawl(ref=seen.ref, outcome=CrawlStatus.CANCELLED)
    else:
        end = CloseCrawl(ref=seen.ref, outcome=CrawlStatus.FAILED, code=WORKFLOW_LOST, message=_LOST)
    return await close(connection, end, now=now)


# Of a bot that is deleted


async def crawls_of(connection: AsyncConnection, bot: BotId, *, limit: int) -> list[CrawlId]:
    """Give some of a bot's crawls."""
    found = (await connection.execute(select(crawls.c.id).where(crawls.c.bot_id == bot).limit(limit))).scalars()
    return [CrawlId(crawl) for crawl in found]


async def delete_pages(connection: AsyncConnection, crawls_: Sequence[CrawlId], *, limit: int) -> int:
    """Delete some pages of crawls; answers how many."""
    some = select(crawl_pages.c.id).where(crawl_pages.c.crawl_id.in_(crawls_)).limit(limit)
    return int((await connection.execute(delete(crawl_pages).where(crawl_pages.c.id.in_(some)))).rowcount)


async def delete_crawls(connection: AsyncConnection, crawls_: Sequence[CrawlId]) -> None:
    """Delete crawls, with the pages that are left of them."""
    await connection.execute(delete(crawls).where(crawls.c.id.in_(crawls_)))
