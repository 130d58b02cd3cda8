"""One page of a crawl: fetched as its site allows, accepted as an upload is, its links noted, all in one commit."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.ids import new_id
from adapters.postgres import crawls, web
from adapters.postgres.crawls import Settled, Waiting
from adapters.postgres.engine import transaction
from adapters.postgres.uploads import Accepted, Upload
from adapters.temporal.runs import cancel_run, start_ingestion
from adapters.web.intake import PageIntake
from adapters.web.links import LINK_BYTES, is_html, links_of
from adapters.web.robots import Robots
from domain.blobs import ingestion_prefix
from domain.crawls import CrawlRef, PageState
from domain.errors import (
    AlreadyExists,
    DomainError,
    EmptyFile,
    EncryptedFile,
    FetchFailed,
    RobotsDisallowed,
    StateConflict,
    UnsupportedFormat,
    UrlInvalid,
    UrlRefused,
    UrlTooLarge,
)
from domain.ids import DocumentId, IngestionId
from domain.ports import BlobStore, Fetcher, WebPage
from domain.runs import ingestion_run
from domain.web import Scope, Validators, title

log = structlog.get_logger(__name__)

_NOT_TAKEN = (UnsupportedFormat, EncryptedFile, EmptyFile, UrlTooLarge, UrlRefused, UrlInvalid)
_GONE = (404, 410)
_LONGEST_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Site:
    """What a run knows of the site that it goes through."""

    ref: CrawlRef
    row: Row[Any]
    robots: Robots
    scope: Scope


class Pace:
    """Lets requests to one site start no sooner than the delay after each other."""

    def __init__(self, delay: timedelta) -> None:
        self._delay = delay.total_seconds()
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        loop = asyncio.get_running_loop()
        start = max(self._next, loop.time())
        self._next = start + self._delay
        await asyncio.sleep(start - loop.time())

    def hold_back(self, pause: timedelta) -> None:
        """Let nobody ask for a while: the site is in trouble."""
        self._next = max(self._next, asyncio.get_running_loop().time() + pause.total_seconds())


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a visit found, before it is written down."""

    settled: Settled
    links: list[str] = field(default_factory=list)
    depth: int = 0  # of the links
    upload: Upload | None = None
    known: bool = False
    document: DocumentId | None = None


class Visit:
    """Comes to pages of one site; `patience` holds the pauses before a page that failed is asked for again."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        fetcher: Fetcher,
        temporal: Client,
        now: Callable[[], datetime],
        site: Site,
        pace: Pace,
        patience: tuple[timedelta, ...],
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._fetcher = fetcher
        self._temporal = temporal
        self._now = now
        self._site = site
        self._pace = pace
        self._patience = patience

    async def settle(self, page: Waiting) -> None:
        """Fetch a page and write down what became of it. Raises `CrawlClosed`, and what a server of ours raises."""
        if not self._site.robots.allows(page.url):
            forbidden = Settled(
                PageState.REFUSED, code=RobotsDisallowed.code, message="The site's robots.txt forbids this page."
            )
            await self._write(page, _Seen(forbidden))
            return
        for pause in (*self._patience, None):
            try:
                await self._write(page, await self._fetch(page))
                return
            except AlreadyExists as error:
                other = error.details.get("document_id")
                document = None if other is None else DocumentId(UUID(other))
                await self._write(page, _Seen(replace(_failed(error, page), document_id=document)))
                return
            except (FetchFailed, StateConflict, *_NOT_TAKEN) as error:
                if pause is None or not (error.retryable or isinstance(error, StateConflict)):
                    await self._write(page, _Seen(_failed(error, page)))
                    return
                self._pace.hold_back(min(error.retry_after or pause, _LONGEST_PAUSE))

    async def _fetch(self, page: Waiting) -> _Seen:
        bot = self._site.ref.bot_id
        async with transaction(self._engine) as connection:
            known = await web.find(connection, bot, page.url)
        document = DocumentId(new_id()) if known is None else known.document
        needs_links = self._follows(page) and not page.known
        validators = Validators() if known is None or needs_links else known.validators
        await self._pace.turn()
        async with self._fetcher.open(page.url, known=validators) as answer:
            if answer.not_modified:
                return _Seen(Settled(PageState.UNCHANGED, answer.status, document))
            if answer.url != page.url:
                return self._moved(page, answer)
            return await self._taken(page, answer, document, known=known is not None)

    async def _taken(self, page: Waiting, answer: WebPage, document: DocumentId, *, known: bool) -> _Seen:
        ingestion = IngestionId(new_id())
        intake = PageIntake(answer, keep=LINK_BYTES)
        upload = await intake.store(
            self._blobs, document, ingestion, url=page.url, name=title(page.url), now=self._now()
        )
        links = await self._links(page, answer, bytes(intake.sample))
        fetched = Settled(PageState.FETCHED, answer.status)
        return _Seen(fetched, links, page.depth + 1, upload, known, document)

    def _moved(self, page: Waiting, answer: WebPage) -> _Seen:
        targets = self._site.scope.take(page.url, [answer.url])
        if not targets:
            message = "The page redirects to another site, or out of the path where the crawl began."
            return _Seen(Settled(PageState.REFUSED, answer.status, code="out_of_scope", message=message))
        return _Seen(Settled(PageState.MOVED, answer.status), targets, page.depth)

    def _follows(self, page: Waiting) -> bool:
        return bool(self._site.row.follow_links) and page.depth < self._site.row.max_depth

    async def _links(self, page: Waiting, answer: WebPage, content: bytes) -> list[str]:
        if not self._follows(page) or not is_html(answer.content_type, content):
            return []
        base, written = await asyncio.to_thread(links_of, content, answer.url)
        return self._site.scope.take(base, written)

    async def _write(self, page: Waiting, seen: _Seen) -> None:
        """Commit document, page and links together, then start the document's run: from then on nothing is lost."""
        accepted: Accepted | None = None
        try:
            async with transaction(self._engine) as connection:
                row = await crawls.hold(connection, self._site.ref)
                if await crawls.still_waits(connection, self._site.ref, page.id):
                    settled = seen.settled
                    if seen.upload is not None and seen.document is not None:
                        ref = self._site.ref
                        accepted = await web.accept(
                            connection, ref.owner_id, ref.bot_id, seen.document, seen.upload, known=seen.known
                        )
                        state = PageState.UNCHANGED if accepted.new is None else PageState.FETCHED
                        settled = replace(settled, state=state, document_id=DocumentId(accepted.document.id))
                    await crawls.settle(connection, self._site.ref, page.id, settled, now=self._now())
                    if seen.links:
                        await crawls.discover(connection, row, seen.links, depth=seen.depth)
        except DomainError:
            await self._drop(seen)
            raise
        if accepted is None or accepted.new is None:
            await self._drop(seen)
            return
        await self._start(accepted)

    async def _drop(self, seen: _Seen) -> None:
        if seen.upload is not None and seen.document is not None:
            await self._blobs.delete_prefix(ingestion_prefix(seen.document, seen.upload.ingestion_id))

    async def _start(self, accepted: Accepted) -> None:
        """What cannot be started now, the sweeper starts: the row says `pending`."""
        assert accepted.new is not None  # noqa: S101  (asked before)
        try:
            if accepted.superseded_run is not None:
                run = ingestion_run(accepted.new.document_id)
                await cancel_run(self._temporal, run, run_id=accepted.superseded_run)
            await start_ingestion(self._temporal, accepted.new)
        except (RPCError, OSError) as error:
            log.warning("start_left_to_sweeper", error=type(error).__name__)


def _failed(error: DomainError, page: Waiting) -> Settled:
    status = error.http_status if isinstance(error, FetchFailed) else None
    if isinstance(error, _NOT_TAKEN):
        state = PageState.REFUSED
    elif status in _GONE and page.had_document:
        state = PageState.GONE
    else:
        state = PageState.FAILED
    return Settled(state, status, code=error.code, message=error.message)
