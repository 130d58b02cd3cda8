"""Crawling: looks at a site, then fetches its pages a minute at a time; each page is settled in one transaction."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client

from activities.heartbeat import heartbeats
from activities.page_visit import Pace, Site, Visit
from adapters.postgres import crawls
from adapters.postgres.engine import transaction
from adapters.web.robots import Robots, read_robots
from adapters.web.sitemaps import read_sitemaps
from domain import steps
from domain.crawls import CrawlMode, CrawlRef
from domain.errors import NoSitemap, RobotsDisallowed
from domain.ports import BlobStore, Fetcher
from domain.steps import CloseCrawl, Done, PagesFetched, Surveyed
from domain.web import Scope, origin

log = structlog.get_logger(__name__)

# A step that is run again repeats little, and a crawl of 10,000 pages stays within a thousand events.
BATCH = timedelta(seconds=60)
LANES = 4
_READ_AHEAD = 20


class Crawling:
    """The steps of `CrawlSite`. Each may run twice, or beside itself: rows are the fence."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        fetcher: Fetcher,
        temporal: Client,
        now: Callable[[], datetime],
        *,
        delay: timedelta = timedelta(seconds=0.5),
        batch: timedelta = BATCH,
        patience: tuple[timedelta, ...] = (timedelta(seconds=2), timedelta(seconds=10)),
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._fetcher = fetcher
        self._temporal = temporal
        self._now = now
        self._delay = delay
        self._batch = batch
        self._patience = patience

    @activity.defn(name=steps.BEGIN_CRAWL.name)
    async def begin_crawl(self, ref: CrawlRef) -> Done:
        """Take the crawl up."""
        async with transaction(self._engine) as connection:
            await crawls.begin(connection, ref, run_id=activity.info().workflow_run_id or "", now=self._now())
        return Done()

    @activity.defn(name=steps.SURVEY_SITE.name)
    async def survey_site(self, ref: CrawlRef) -> Surveyed:
        """Find out where the crawl's URL ends, what robots.txt says, and which pages to begin with."""
        async with heartbeats():
            async with transaction(self._engine) as connection:
                crawl = await crawls.hold(connection, ref)
            robots = await self._allowed(crawl.url)
            async with self._fetcher.open(crawl.url) as page:
                start = page.url
            if origin(start) != origin(crawl.url):
                robots = await self._allowed(start)
            mode = CrawlMode(crawl.mode)
            found = [] if mode is CrawlMode.LINKS else await self._sitemaps(mode, start, robots, crawl.max_pages)
            urls = found if mode is CrawlMode.SITEMAP else [start, *found]
            async with transaction(self._engine) as connection:
                count = await crawls.surveyed(
                    connection,
                    ref,
                    scope_url=_scope_url(mode, start),
                    robots=robots.text,
                    follow_links=not found,
                    urls=urls,
                    now=self._now(),
                )
        log.info("site_surveyed", crawl_id=str(ref.crawl_id), pages=count, links=not found)
        return Surveyed(pages=count)

    @activity.defn(name=steps.FETCH_PAGES.name)
    async def fetch_pages(self, ref: CrawlRef) -> PagesFetched:
        """Come to as many pages as a minute allows, a few at a time, at the pace that the site asks for."""
        async with heartbeats():
            async with transaction(self._engine) as connection:
                row = await crawls.hold(connection, ref)
            robots = Robots(row.robots or "")
            site = Site(ref, row, robots, Scope.of(row.scope_url))
            pace = Pace(max(self._delay, robots.delay))
            visit = Visit(
                self._engine, self._blobs, self._fetcher, self._temporal, self._now, site, pace, self._patience
            )
            end = asyncio.get_running_loop().time() + self._batch.total_seconds()
            while asyncio.get_running_loop().time() < end:
                async with transaction(self._engine) as connection:
                    pages = await crawls.waiting(connection, ref, limit=_READ_AHEAD)
                if not pages:
                    break
                await self._visit_all(visit, pages, end)
            async with transaction(self._engine) as connection:
                return await crawls.progress(connection, ref)

    @activity.defn(name=steps.CLOSE_CRAWL.name)
    async def close_crawl(self, end: CloseCrawl) -> Done:
        """Write the crawl's end down."""
        async with transaction(self._engine) as connection:
            await crawls.close(connection, end, now=self._now())
        return Done()

    async def _visit_all(self, visit: Visit, pages: list[crawls.Waiting], end: float) -> None:
        slots = asyncio.Semaphore(LANES)

        async def one(page: crawls.Waiting) -> None:
            async with slots:
                if asyncio.get_running_loop().time() < end:
                    await visit.settle(page)

        # All settle before a failure is raised: what a lane has fetched is not thrown away.
        for result in await asyncio.gather(*(one(page) for page in pages), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _allowed(self, url: str) -> Robots:
        robots = await read_robots(self._fetcher, url)
        if not robots.allows(url):
            raise RobotsDisallowed("The site's robots.txt does not let programs fetch this page. Ask its owner.")
        return robots

    async def _sitemaps(self, mode: CrawlMode, start: str, robots: Robots, limit: int) -> list[str]:
        scope = Scope.of(_scope_url(mode, start))
        if mode is CrawlMode.SITEMAP and _is_sitemap(start):
            starts = [start]
        else:
            root = Scope(scope.origin, "/")
            starts = [*root.take(start, robots.sitemaps), f"{scope.origin}/sitemap.xml"]
        found = await read_sitemaps(self._fetcher, starts, scope, limit=limit)
        if mode is CrawlMode.SITEMAP and not found:
            raise NoSitemap(
                "The site has no sitemap that names pages under this URL. Crawl by links, or send the sitemap's own URL."
            )
        return found


def _is_sitemap(url: str) -> bool:
    return url.split("?")[0].endswith((".xml", ".xml.gz"))


def _scope_url(mode: CrawlMode, start: str) -> str:
    """The pages of a sitemap that was given itself may lie anywhere on its site."""
    return f"{origin(start)}/" if mode is CrawlMode.SITEMAP and _is_sitemap(start) else start
