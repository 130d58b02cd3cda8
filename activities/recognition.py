"""Recognition: page images are read one by one; what was read is stored page by page and never paid for again."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from adapters.postgres.flight import Failure
from domain import blobs, steps
from domain.documents import Format, IngestionRef, Stage
from domain.errors import NoText, NotFound, SafetyBlocked, UnreadablePage
from domain.ports import BlobStore, ExtractionLimits, Extractor, RenderJob, TextRecognizer
from domain.recognition import PAGES_A_STEP, ReadPage, merged, missing_pages, refused_pages
from domain.steps import Done, Recognized, RecognizePages

log = structlog.get_logger(__name__)

# Of one page: what takes longer to draw is no page that was made for reading.
_DRAW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Work:
    """A document whose next pages are read."""

    ref: IngestionRef
    source: Path
    format: Format
    folder: Path
    pages: int
    left: list[int]


class Recognition:
    """Reads the pages that have no text, or leaves them out where a person says so."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        extractor: Extractor,
        recognizer: TextRecognizer | None,
        limits: ExtractionLimits,
        now: Callable[[], datetime],
        *,
        pages_a_step: int = PAGES_A_STEP,
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._extractor = extractor
        self._recognizer = recognizer
        self._limits = replace(
            limits,
            wall_seconds=min(limits.wall_seconds, _DRAW_SECONDS),
            cpu_seconds=min(limits.cpu_seconds, _DRAW_SECONDS),
        )
        self._now = now
        self._pages_a_step = pages_a_step

    @activity.defn(name=steps.KEEP_TEXT_PAGES.name)
    async def keep_text_pages(self, ref: IngestionRef) -> Done:
        """Write down that the pages without text are left out."""
        async with transaction(self._engine) as connection:
            await recognition.keep_text_pages(connection, ref, now=self._now())
        return Done()

    @activity.defn(name=steps.RECOGNIZE.name)
    async def recognize(self, given: RecognizePages) -> Recognized:
        """Let the provider read the next pages."""
        return await self._recognize(given)

    @activity.defn(name=steps.RECOGNIZE_LOCALLY.name)
    async def recognize_locally(self, given: RecognizePages) -> Recognized:
        """Read the next pages on this machine."""
        return await self._recognize(given)

    async def _recognize(self, given: RecognizePages) -> Recognized:
        ref = given.ref
        async with transaction(self._engine) as connection:
            run_id = activity.info().workflow_run_id or ""
            row = await ingestions.enter(connection, ref, Stage.EXTRACTING, run_id=run_id, now=self._now())
        left = recognition.pages_to_recognize(row)
        if not left:
            return Recognized(pages_left=0, characters=row.characters)
        if self._recognizer is None:
            raise NoText(missing_pages(left, pages=row.pages, has_text=bool(row.characters)))
        with tempfile.TemporaryDirectory(prefix="chatsphere-recognize-") as name:
            async with heartbeats():
                source = await self._blobs.fetch(blobs.source_key(ref.document_id, ref.ingestion_id), Path(name))
                work = _Work(ref, source, ingestions.format_of(row), Path(name), row.pages, left)
                read = await self._read_pages(work, self._recognizer)
                await self._merge(work, read)
        return await self._record(given, read)

    async def _record(self, given: RecognizePages, read: Sequence[ReadPage]) -> Recognized:
        """Count pages and calls, once, in the transaction that takes the pages off the list."""
        attempt = this_attempt(given.part)
        async with transaction(self._engine) as connection:
            result, counted = await recognition.store(connection, given.ref, read, now=self._now())
            await flight.record(connection, given.ref, attempt, now=self._now())
            refused = refused_pages(read)
            note = Failure("pages_left_empty", refused) if refused else None
            await recognition.count_calls(connection, given.ref, attempt, counted, note)
        return result

    async def _read_pages(self, work: _Work, recognizer: TextRecognizer) -> list[ReadPage]:
        """Read some pages side by side; all settle before the first failure is raised, so that each paid one is kept."""
        chosen = work.left[: self._pages_a_step]
        waiting, read, failures = iter(chosen), list[ReadPage](), list[Exception]()

        async def lane() -> None:
            for number in waiting:
                if failures:
                    return
                try:
                    read.append(await self._read_page(work, number, recognizer))
                except Exception as error:  # noqa: BLE001  (raised below, when the other lanes have settled)
                    failures.append(error)
                else:
                    await self._show(work, len(read))

        await asyncio.gather(*(lane() for _ in range(min(recognizer.pages_at_once, len(chosen)))))
        if failures:
            raise failures[0]
        return sorted(read, key=lambda page: page.page)

    async def _read_page(self, work: _Work, number: int, recognizer: TextRecognizer) -> ReadPage:
        key = blobs.recognized_key(work.ref.document_id, work.ref.ingestion_id, number)
        stored = await self._stored(key)
        if stored is not None:
            return stored
        page = await self._look_at(work, number, recognizer)
        file = work.folder / f"{number}.json"
        await asyncio.to_thread(file.write_bytes, page.to_json())
        await self._blobs.put_file(key, file)
        return page

    async def _look_at(self, work: _Work, number: int, recognizer: TextRecognizer) -> ReadPage:
        image = work.folder / f"{number}.jpg"
        calls = 0
        try:
            await self._extractor.render(
                RenderJob(work.source, image, work.format, number, recognizer.dots_per_inch, self._limits)
            )
            calls = int(recognizer.is_provider)
            found = await recognizer.recognize(image)
        except (SafetyBlocked, UnreadablePage) as error:
            log.warning("page_left_empty", document_id=str(work.ref.document_id), page=number, code=error.code)
            return ReadPage(number, "", calls=calls, refused=error.code)
        finally:
            await asyncio.to_thread(image.unlink, missing_ok=True)
        return ReadPage(number, found.text, calls=calls, tokens=found.tokens)

    async def _stored(self, key: str) -> ReadPage | None:
        """Give what an earlier attempt read, which is paid for."""
        try:
            return ReadPage.from_json(b"".join([piece async for piece in self._blobs.get(key)]))
        except NotFound:
            return None

    async def _merge(self, work: _Work, read: Sequence[ReadPage]) -> None:
        """Put the texts into the stored pages, before they are taken off the list; doing it twice changes nothing."""
        key = blobs.pages_key(work.ref.document_id, work.ref.ingestion_id)
        pages, target = await self._blobs.fetch(key, work.folder), work.folder / "merged.jsonl"
        await asyncio.to_thread(_write_merged, pages, target, {page.page: page for page in read})
        await self._blobs.put_file(key, target)

    async def _show(self, work: _Work, done: int) -> None:
        try:
            async with transaction(self._engine) as connection:
                shown = work.pages - len(work.left) + done
                await ingestions.report_pages(connection, work.ref, shown, work.pages, now=self._now())
        except (SQLAlchemyError, OSError) as error:
            # Progress is worth nothing beside the page that was read.
            log.warning("progress_lost", reason=type(error).__name__)


def _write_merged(pages: Path, target: Path, read: dict[int, ReadPage]) -> None:
    with pages.open("rb") as source, target.open("wb") as file:
        file.writelines(merged(line, read) for line in source)
