"""Extraction: supervises a child that can be killed, and shows the pages as they come."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.flight import this_attempt
from activities.heartbeat import heartbeats
from adapters.postgres import flight, ingestions, recognition
from adapters.postgres.engine import transaction
from domain import blobs, steps
from domain.documents import Format, IngestionRef, Stage
from domain.ports import BlobStore, ExtractedText, ExtractionJob, ExtractionLimits, Extractor, TextRecognizer
from domain.steps import Extracted

log = structlog.get_logger(__name__)

_REPORT_SECONDS = 0.5


class Extraction:
    """Reads a document into pages."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        extractor: Extractor,
        limits: ExtractionLimits,
        now: Callable[[], datetime],
        recognizer: TextRecognizer | None = None,
        *,
        report_seconds: float = _REPORT_SECONDS,
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._extractor = extractor
        self._limits = limits
        self._now = now
        self._recognizer = recognizer
        self._report_seconds = report_seconds

    @activity.defn(name=steps.EXTRACT.name)
    async def extract(self, ref: IngestionRef) -> Extracted:
        """Store the pages; where an earlier attempt did, whose completion was lost, answer its result."""
        async with transaction(self._engine) as connection:
            run_id = activity.info().workflow_run_id or ""
            row = await ingestions.enter(connection, ref, Stage.EXTRACTING, run_id=run_id, now=self._now())
        if row.pages is not None:
            return self._result(row.pages, row.characters, recognition.pages_to_recognize(row))
        with tempfile.TemporaryDirectory(prefix="chatsphere-extract-") as name:
            async with heartbeats():
                read = await self._read(ref, ingestions.format_of(row), row.encoding, Path(name))
        async with transaction(self._engine) as connection:
            row = await ingestions.extracted(connection, ref, read, now=self._now())
            await flight.record(connection, ref, this_attempt(), now=self._now())
        kept = row.keep_text_pages and read.characters
        return self._result(read.pages, read.characters, () if kept else read.without_text)

    def _result(self, pages: int, characters: int, to_recognize: Sequence[int]) -> Extracted:
        by_provider = self._recognizer is not None and self._recognizer.is_provider
        return Extracted(
            pages=pages,
            characters=characters,
            pages_to_recognize=len(to_recognize),
            by_provider=by_provider and bool(to_recognize),
        )

    async def _read(
        self, ref: IngestionRef, source_format: Format, encoding: str | None, folder: Path
    ) -> ExtractedText:
        source = await self._blobs.fetch(blobs.source_key(ref.document_id, ref.ingestion_id), folder)
        target = folder / "pages.jsonl"
        job = ExtractionJob(
            source=source,
            target=target,
            format=source_format,
            limits=self._limits,
            encoding=encoding,
            recognizable=self._recognizer is not None,
        )
        async with self._reports(ref) as report:
            result = await self._extractor.extract(job, report)
        await self._blobs.put_file(blobs.pages_key(ref.document_id, ref.ingestion_id), target)
        return result

    @asynccontextmanager
    async def _reports(self, ref: IngestionRef) -> AsyncIterator[Callable[[int, int | None], None]]:
        """Write the latest progress now and then: pages come by the thousand a second."""
        latest: list[tuple[int, int | None]] = []

        def report(done: int, total: int | None) -> None:
            latest[:] = [(done, total)]

        async def write() -> None:
            written: list[tuple[int, int | None]] = []
            while True:
                await asyncio.sleep(self._report_seconds)
                if latest != written:
                    written = latest[:]
                    await self._show(ref, *written[0])

        writing = asyncio.create_task(write(), name="extraction progress")
        try:
            yield report
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def _show(self, ref: IngestionRef, done: int, total: int | None) -> None:
        try:
            async with transaction(self._engine) as connection:
                await ingestions.report_pages(connection, ref, done, total, now=self._now())
        except (SQLAlchemyError, OSError) as error:
            # Progress is worth nothing beside the extraction itself; its own end is written with care.
            log.warning("progress_lost", reason=type(error).__name__)
