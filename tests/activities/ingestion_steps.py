"""A document on its way through the steps: real Postgres, real blobs, fakes for what costs money or a subprocess."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from activities.chunking import Chunking, Sizes
from activities.embedding import Embedding
from activities.extraction import Extraction
from activities.ingestion import Ingestion
from activities.recognition import Recognition
from adapters.admission import Admission
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.postgres import tables
from adapters.postgres.admission import Waiting
from adapters.postgres.notifications import Notifications, wait_for
from domain import blobs as names
from domain.chunks import Page
from domain.documents import IngestionRef
from domain.errors import UnreadablePage
from domain.ports import ExtractedText, ExtractionJob, ExtractionLimits, RecognizedPage, RenderJob
from tests.rows import count, row_of

BATCH = 4


class Crash(BaseException):
    """The process is gone: nothing catches this and goes on."""


class PageExtractor:
    """Keeps the extractor's contract: writes pages, reports each, stops when it is cancelled."""

    def __init__(self, pages: Sequence[str]) -> None:
        self.pages = pages
        self.runs = 0
        self.encoding: str | None = None
        self.jobs: list[ExtractionJob] = []
        self.fail: list[BaseException] = []
        self.pause: asyncio.Event | None = None
        self.reached = asyncio.Event()
        self.without_text: tuple[int, ...] = ()
        self.undrawable: set[int] = set()

    async def render(self, job: RenderJob) -> None:
        """Draw a page that a `PageRecognizer` can read: its number."""
        if job.page in self.undrawable:
            raise UnreadablePage("The page cannot be drawn.")
        job.target.write_text(str(job.page))

    async def extract(self, job: ExtractionJob, progress: Callable[[int, int | None], None]) -> ExtractedText:
        self.runs += 1
        self.jobs.append(job)
        if self.fail:
            raise self.fail.pop(0)
        lines = []
        for number, page in enumerate(self.pages, start=1):
            lines.append(Page(number, "" if number in self.without_text else page).to_line())
            progress(number, len(self.pages))
        self.reached.set()
        if self.pause is not None:
            await self.pause.wait()
        job.target.write_text("\n".join(lines) + "\n")
        kept = [page for number, page in enumerate(self.pages, start=1) if number not in self.without_text]
        return ExtractedText(
            pages=len(self.pages), characters=sum(map(len, kept)),
            encoding=self.encoding, without_text=tuple(sorted(self.without_text)),
        )  # fmt: skip


class PageRecognizer:
    """Keeps the recogniser's contract: answers "Read <page>" for each, at a price, and counts what it was asked."""

    def __init__(self, *, pages_at_once: int = 2) -> None:
        self.model, self.is_provider = "reader", True
        self.dots_per_inch = 100
        self.pages_at_once = pages_at_once
        self.read: list[int] = []
        self.fail: dict[int, list[BaseException]] = {}

    async def recognize(self, image: Path) -> RecognizedPage:
        page = int(image.read_text())  # noqa: ASYNC240  (a few bytes)
        self.read.append(page)
        failures = self.fail.get(page)
        if failures:
            raise failures.pop(0)
        return RecognizedPage(f"Read {page}.", tokens=10)


def this_info(step: Callable[..., Any], attempt: int = 1) -> activity.Info:
    """What Temporal tells an attempt about itself."""
    return dataclasses.replace(
        ActivityEnvironment.default_info(),
        activity_type=getattr(step, "__temporal_activity_definition").name,
        workflow_run_id="run-1",
        attempt=attempt,
        scheduled_time=datetime(2026, 1, 1, tzinfo=UTC),
        started_time=now(),
    )


@dataclasses.dataclass
class Bench:
    """The steps and what they work on."""

    engine: AsyncEngine
    blobs: FolderBlobStore
    extractor: PageExtractor
    embedder: Any
    ref: IngestionRef
    characters: int = 100
    cap: int | None = None
    called: list[Waiting] = dataclasses.field(default_factory=list)
    recognizer: PageRecognizer | None = None
    pages_a_step: int = 3

    @property
    def admission(self) -> Admission:
        """With a cap, whom it lets in is noted in `called`."""

        async def call(waiting: Waiting) -> bool:
            self.called.append(waiting)
            return True

        return Admission(self.engine, call, cap=self.cap)

    @property
    def ingestion(self) -> Ingestion:
        return Ingestion(self.engine, self.blobs, self.admission, now, chunk_batch=3)

    @property
    def extraction(self) -> Extraction:
        return Extraction(
            self.engine, self.blobs, self.extractor, ExtractionLimits(), now, self.recognizer, report_seconds=0.01
        )

    @property
    def recognition(self) -> Recognition:
        return Recognition(
            self.engine, self.blobs, self.extractor, self.recognizer, ExtractionLimits(), now,
            pages_a_step=self.pages_a_step,
        )  # fmt: skip

    @property
    def chunking(self) -> Chunking:
        return Chunking(self.engine, self.blobs, self.embedder, Sizes(self.characters, 0), now)

    @property
    def embedding(self) -> Embedding:
        return Embedding(self.engine, self.blobs, self.embedder, now)

    async def run(self, step: Callable[..., Any], given: Any, *, attempt: int = 1) -> Any:
        """Run a step as an attempt of the same activity."""
        environment = ActivityEnvironment()
        environment.info = this_info(step, attempt)
        return await environment.run(step, given)

    async def document(self) -> Any:
        return await row_of(self.engine, tables.documents, self.ref.document_id)

    async def watch(self, until: Callable[[Any], bool]) -> Any:
        """The document's row as soon as it is so, by the notifications that a reader gets."""
        hub = Notifications(self.engine.url.render_as_string(hide_password=False))
        try:
            async with hub.subscribe("documents", self.ref.document_id) as woken, asyncio.timeout(60):
                while not until(document := await self.document()):
                    await wait_for(woken, 2)
                    woken.clear()
                return document
        finally:
            await hub.close()

    async def row(self) -> Any:
        return await row_of(self.engine, tables.ingestions, self.ref.ingestion_id)

    async def steps(self) -> Sequence[Any]:
        """The flight record."""
        async with self.engine.connect() as connection:
            return (await connection.execute(select(tables.ingestion_steps).order_by("first_started_at"))).all()

    async def chunks(self) -> int:
        return await count(self.engine, tables.chunks, tables.chunks.c.ingestion_id == self.ref.ingestion_id)

    async def set(self, **values: Any) -> None:
        async with self.engine.begin() as connection:
            mine = tables.ingestions.c.id == self.ref.ingestion_id
            await connection.execute(update(tables.ingestions).where(mine).values(values))

    async def put_source(self, ref: IngestionRef) -> None:
        async def source() -> AsyncIterator[bytes]:
            yield b"bytes"

        await self.blobs.put(names.source_key(ref.document_id, ref.ingestion_id), source())

    def work(self) -> list[str]:
        """Blobs that the ingestion made for itself."""
        prefix = names.derived_prefix(self.ref.document_id, self.ref.ingestion_id)
        root: Path = self.blobs._root
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and prefix in str(p))

    async def until_extracted(self) -> None:
        await self.run(self.ingestion.begin, self.ref)
        await self.run(self.extraction.extract, self.ref)

    async def until_planned(self) -> None:
        await self.until_extracted()
        await self.run(self.chunking.chunk, self.ref)


CrashAfter = Callable[..., Awaitable[None]]
