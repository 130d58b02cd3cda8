"""Crawls: beginning, watching, stopping, and going through a site again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import bots, crawl_requests
from adapters.postgres.engine import transaction
from adapters.temporal import runs
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.idempotency import OnceDep
from api.pagination import ListingDep
from api.schemas.base import ListOf
from api.schemas.crawls import Crawl, CrawlPage, NewCrawl
from api.starting import started
from domain.crawls import PageState
from domain.ids import BotId, CrawlId
from domain.runs import crawl_run
from domain.web import normalise

router = APIRouter(tags=["Crawls"])
_ERRORS = responses(400, 401, 403, 404, 409)


@router.post("/bots/{bot_id}/crawls", status_code=202, summary="Crawl a site", responses=_ERRORS)
async def create_crawl(
    bot_id: UUID, body: NewCrawl, user: Writer, adapters: AdaptersDep, once: OnceDep, response: Response
) -> Crawl:
    """Go through a site by its sitemap or its links, as its robots.txt allows; each page becomes a document."""
    url = normalise(body.url)
    async with transaction(adapters.engine) as connection:
        await bots.read(connection, user.id, BotId(bot_id))
        await once.claim(connection, user.id)
        row = await crawl_requests.add(
            connection,
            user.id,
            BotId(bot_id),
            CrawlId(new_id()),
            url=url,
            mode=body.mode,
            max_pages=body.max_pages,
            max_depth=body.max_depth,
        )
        headers = {"Location": f"/api/v1/crawls/{row.id}"}
        answer = await once.keep(connection, user.id, 202, await _shown(connection, row), headers)
    response.headers.update(headers)
    await started(runs.start_crawl(adapters.temporal, crawl_requests.ref_of(row)))
    return answer


@router.get("/bots/{bot_id}/crawls", summary="List crawls", responses=responses(401, 403, 404))
async def list_crawls(bot_id: UUID, user: Reader, connection: TransactionDep, listing: ListingDep) -> ListOf[Crawl]:
    """List a bot's crawls."""
    await bots.read(connection, user.id, BotId(bot_id))
    bound = listing.of("crawls", user.id, bot_id)
    rows = await crawl_requests.page(connection, user.id, BotId(bot_id), bound.window)
    counts = await crawl_requests.counts(connection, [row.id for row in rows])
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=lambda row: Crawl.of(row, counts[row.id]))


@router.get("/crawls/{crawl_id}", summary="See a crawl", responses=responses(401, 403, 404))
async def get_crawl(crawl_id: UUID, user: Reader, connection: TransactionDep) -> Crawl:
    """See how far a crawl is, and what became of its pages and documents."""
    return await _shown(connection, await crawl_requests.read(connection, user.id, CrawlId(crawl_id)))


@router.get("/crawls/{crawl_id}/pages", summary="List a crawl's pages", responses=responses(401, 403, 404))
async def list_crawl_pages(
    crawl_id: UUID,
    user: Reader,
    connection: TransactionDep,
    listing: ListingDep,
    state: Annotated[PageState | None, Query(description="Only those in this state.")] = None,
) -> ListOf[CrawlPage]:
    """List the pages that are known, with their document, or why they have none."""
    await crawl_requests.read(connection, user.id, CrawlId(crawl_id))
    bound = listing.of("crawl-pages", user.id, crawl_id, state)
    rows = await crawl_requests.pages_of(connection, CrawlId(crawl_id), bound.window, state=state)
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=CrawlPage.of)


@router.post("/crawls/{crawl_id}/cancel", status_code=202, summary="Stop a crawl", responses=_ERRORS)
async def cancel_crawl(crawl_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep) -> Crawl:
    """Stop fetching. Documents that were accepted stay, and become ready."""
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        row = await crawl_requests.cancel(connection, user.id, CrawlId(crawl_id), now=now())
        answer = await once.keep(connection, user.id, 202, await _shown(connection, row))
    await started(runs.cancel_run(adapters.temporal, crawl_run(CrawlId(crawl_id)), run_id=None))
    return answer


@router.post("/crawls/{crawl_id}/refresh", status_code=202, summary="Crawl again", responses=_ERRORS)
async def refresh_crawl(crawl_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep) -> Crawl:
    """Go through the site again: pages that changed become new versions, those that are gone are reported."""
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        row = await crawl_requests.refresh(connection, user.id, CrawlId(crawl_id))
        answer = await once.keep(connection, user.id, 202, await _shown(connection, row))
    await started(runs.start_crawl(adapters.temporal, crawl_requests.ref_of(row)))
    return answer


async def _shown(connection: AsyncConnection, row: Row[tuple[object, ...]]) -> Crawl:
    return Crawl.of(row, (await crawl_requests.counts(connection, [row.id]))[row.id])
