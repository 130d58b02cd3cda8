"""CrawlSite, with its activities faked by step name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.heartbeat import heartbeats
from adapters.ids import new_id
from domain import runs
from domain.crawls import CrawlRef, CrawlStatus
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
from workflows.crawl import CrawlSite
from workflows.sandbox import workflow_runner


class Steps:
    """Fakes: a site of so many pages, fetched so many at a time; failures are raised in turn."""

    def __init__(self, *, pages: int = 25, batch: int = 10) -> None:
        self.pages = pages
        self.batch = batch
        self.settled = 0
        self.taken: list[str] = []
        self.ends: list[CloseCrawl] = []
        self.fail: dict[str, list[ApplicationError]] = {}
        self.hold = False
        self.fetching = asyncio.Event()

    def _take(self, step: str) -> None:
        self.taken.append(step)
        if self.fail.get(step):
            raise self.fail[step].pop(0)

    @activity.defn(name=BEGIN_CRAWL.name)
    async def begin(self, _: CrawlRef) -> Done:
        self._take("begin")
        return Done()

    @activity.defn(name=SURVEY_SITE.name)
    async def survey(self, _: CrawlRef) -> Surveyed:
        self._take("survey")
        return Surveyed(pages=self.pages)

    @activity.defn(name=FETCH_PAGES.name)
    async def fetch(self, _: CrawlRef) -> PagesFetched:
        self._take("fetch")
        self.fetching.set()
        if self.hold:
            async with heartbeats():
                await asyncio.Event().wait()
        self.settled = min(self.settled + self.batch, self.pages)
        return PagesFetched(settled=self.settled, waiting=self.pages - self.settled)

    @activity.defn(name=CLOSE_CRAWL.name)
    async def close(self, end: CloseCrawl) -> Done:
        self._take("close")
        self.ends.append(end)
        return Done()


@asynccontextmanager
async def workers(client: Client, steps: Steps) -> AsyncIterator[None]:
    async with (
        Worker(
            client,
            task_queue=Queue.CHAT,
            workflows=[CrawlSite],
            activities=[steps.begin, steps.close],
            workflow_runner=workflow_runner(),
            max_cached_workflows=0,
        ),
        Worker(client, task_queue=Queue.WEB, activities=[steps.survey, steps.fetch]),
    ):
        yield


def a_ref() -> CrawlRef:
    return CrawlRef(owner_id=UserId(new_id()), bot_id=BotId(new_id()), crawl_id=CrawlId(new_id()))


async def crawl(environment: WorkflowEnvironment, steps: Steps) -> PagesFetched:
    ref = a_ref()
    async with workers(environment.client, steps):
        return await environment.client.execute_workflow(
            CrawlSite.run, ref, id=runs.crawl_run(ref.crawl_id), task_queue=Queue.CHAT
        )


async def test_pages_are_fetched_until_none_waits(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps()
    assert await crawl(temporal_env, steps) == PagesFetched(settled=25, waiting=0)
    assert steps.taken == ["begin", "survey", "fetch", "fetch", "fetch", "close"]
    assert [(end.outcome, end.code) for end in steps.ends] == [(CrawlStatus.COMPLETE, None)]


async def test_a_step_whose_server_is_away_is_tried_again(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps()
    steps.fail["fetch"] = [ApplicationError("The database does not answer.", type="unavailable")] * 5
    steps.fail["survey"] = [ApplicationError("The server is in trouble.", type="url_busy")]
    assert (await crawl(temporal_env, steps)).settled == 25
    assert (steps.taken.count("survey"), steps.taken.count("fetch")) == (2, 8)


async def test_a_site_that_cannot_be_reached_is_a_recorded_end(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps()
    steps.fail["survey"] = [ApplicationError("There is no such page.", type="url_http_error", non_retryable=True)]
    assert await crawl(temporal_env, steps) == PagesFetched(settled=0, waiting=0)
    assert [(end.outcome, end.code, end.message) for end in steps.ends] == [
        (CrawlStatus.FAILED, "url_http_error", "There is no such page.")
    ]


@pytest.mark.parametrize("step", ["begin", "survey", "fetch"])
async def test_a_crawl_that_was_closed_meanwhile_ends_without_a_word(
    temporal_env: WorkflowEnvironment, step: str
) -> None:
    steps = Steps()
    steps.fail[step] = [ApplicationError("The crawl has ended.", type="crawl_closed", non_retryable=True)]
    await crawl(temporal_env, steps)
    assert steps.ends == []


async def test_a_cancelled_crawl_stops_fetching_and_says_so(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps()
    steps.hold = True
    ref = a_ref()
    async with workers(temporal_env.client, steps):
        handle = await temporal_env.client.start_workflow(
            CrawlSite.run, ref, id=runs.crawl_run(ref.crawl_id), task_queue=Queue.CHAT
        )
        await steps.fetching.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert [end.outcome for end in steps.ends] == [CrawlStatus.CANCELLED]
