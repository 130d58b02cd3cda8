"""The paths of `CrawlSite`."""

import asyncio
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.heartbeat import heartbeats
from adapters.temporal.runs import start_crawl
from domain import runs
from domain.crawls import CrawlRef
from domain.ids import BotId, CrawlId, UserId
from domain.steps import (
    BEGIN_CRAWL,
    CLOSE_CRAWL,
    FETCH_PAGES,
    SURVEY_SITE,
    CloseCrawl,
    Done,
    PagesFetched,
    Queue,
    Surveyed,
)
from tests.replay.runs import await_end, histories_of
from workflows.crawl import CrawlSite
from workflows.sandbox import workflow_runner


class Steps:
    """Fakes: a site of two batches, that cannot be reached, or whose pages never come."""

    def __init__(self, *, reachable: bool = True, endless: bool = False) -> None:
        self._reachable = reachable
        self._endless = endless
        self._batches = 0
        self.fetching = asyncio.Event()

    @activity.defn(name=BEGIN_CRAWL.name)
    async def begin(self, _: CrawlRef) -> Done:
        return Done()

    @activity.defn(name=SURVEY_SITE.name)
    async def survey(self, _: CrawlRef) -> Surveyed:
        if not self._reachable:
            raise ApplicationError("There is no such page.", type="url_http_error", non_retryable=True)
        return Surveyed(pages=150)

    @activity.defn(name=FETCH_PAGES.name)
    async def fetch(self, _: CrawlRef) -> PagesFetched:
        self.fetching.set()
        if self._endless:
            async with heartbeats():
                await asyncio.Event().wait()
        self._batches += 1
        return PagesFetched(settled=75 * self._batches, waiting=150 - 75 * self._batches)

    @activity.defn(name=CLOSE_CRAWL.name)
    async def close(self, _: CloseCrawl) -> Done:
        return Done()


async def _played(client: Client, number: int, steps: Steps, *, cancel: bool = False) -> list[WorkflowHistory]:
    ref = CrawlRef(owner_id=UserId(UUID(int=1)), bot_id=BotId(UUID(int=2)), crawl_id=CrawlId(UUID(int=number)))
    async with (
        Worker(
            client,
            task_queue=Queue.CHAT,
            workflows=[CrawlSite],
            activities=[steps.begin, steps.close],
            workflow_runner=workflow_runner(),
        ),
        Worker(client, task_queue=Queue.WEB, activities=[steps.survey, steps.fetch]),
    ):
        assert await start_crawl(client, ref)
        handle = client.get_workflow_handle(runs.crawl_run(ref.crawl_id))
        if cancel:
            await steps.fetching.wait()
            await handle.cancel()
        return await histories_of(client, await await_end(handle))


async def success(client: Client) -> list[WorkflowHistory]:
    """A site that takes two batches."""
    return await _played(client, 50, Steps())


async def unreachable(client: Client) -> list[WorkflowHistory]:
    """A site that cannot be reached."""
    return await _played(client, 51, Steps(reachable=False))


async def cancelled(client: Client) -> list[WorkflowHistory]:
    """A person stops it while pages are fetched."""
    return await _played(client, 52, Steps(endless=True), cancel=True)


PATHS = {"crawl": success, "crawl_unreachable": unreachable, "crawl_cancelled": cancelled}
