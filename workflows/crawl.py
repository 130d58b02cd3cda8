"""Crawling a site: look at it, then fetch pages a minute at a time until none waits."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.crawls import CrawlRef, CrawlStatus
    from domain.errors import CrawlClosed
    from domain.steps import BEGIN_CRAWL, CLOSE_CRAWL, FETCH_PAGES, SURVEY_SITE, CloseCrawl, PagesFetched
    from workflows.step import failure_of, run_step, run_to_end


@workflow.defn(name=runs.CRAWL_SITE)
class CrawlSite:
    """One run over a site's pages. What became of each page is in its row; documents have runs of their own."""

    def __init__(self) -> None:
        self._fetched = PagesFetched(settled=0, waiting=0)

    @workflow.run
    async def run(self, ref: CrawlRef) -> PagesFetched:
        """Crawl, and write the end down, whatever it is. A site that cannot be reached is a recorded end."""
        cancelled: BaseException | None = None
        end = CloseCrawl(ref=ref, outcome=CrawlStatus.COMPLETE)
        try:
            await self._crawl(ref)
        except (asyncio.CancelledError, FailureError) as error:
            if workflow.cancellation_reason() is not None:
                cancelled = error
                end = CloseCrawl(ref=ref, outcome=CrawlStatus.CANCELLED)
            elif isinstance(error, FailureError):
                code, message = failure_of(error)
                if code == CrawlClosed.code:
                    return self._fetched
                end = CloseCrawl(ref=ref, outcome=CrawlStatus.FAILED, code=code, message=message)
            else:
                raise  # the worker evicts the run from its cache
        await run_to_end(CLOSE_CRAWL, end)
        workflow.set_current_details(self._summary(end))
        if cancelled is not None:
            raise cancelled
        return self._fetched

    async def _crawl(self, ref: CrawlRef) -> None:
        await run_step(BEGIN_CRAWL, ref)
        workflow.set_current_details("**Looking at the site:** robots.txt, sitemaps.")
        surveyed = await run_step(SURVEY_SITE, ref)
        self._fetched = PagesFetched(settled=0, waiting=surveyed.pages)
        while self._fetched.waiting:
            workflow.set_current_details(f"**Fetching:** {self._fetched.settled} pages settled.")
            self._fetched = await run_step(FETCH_PAGES, ref)
            if workflow.cancellation_reason() is not None:
                raise asyncio.CancelledError
            if self._fetched.waiting and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(ref)

    def _summary(self, end: CloseCrawl) -> str:
        if end.outcome is CrawlStatus.FAILED:
            return (
                f"### The crawl failed (`{end.code}`)\n\n{end.message}\n\n"
                "**What to do:** put the cause right, then `POST /crawls/{id}/refresh`; what was fetched is kept."
            )
        return f"**{end.outcome.capitalize()}:** {self._fetched.settled} pages settled."
