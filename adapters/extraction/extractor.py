"""`domain.ports.Extractor`: each document in a child process that is limited, supervised and killed."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Self

from adapters.extraction.messages import CORRUPT, CORRUPT_DOCUMENT, LOST, OUT_OF_MEMORY, TOO_SLOW, UNDRAWABLE
from adapters.extraction.nursery import Nursery, Outcome
from adapters.extraction.order import CALAMINE, ONLY, OPENPYXL, PDFIUM, PYPDF, READ, RENDER, Order
from domain import errors
from domain.documents import Format
from domain.errors import (
    CorruptFile,
    DomainError,
    ExtractionCrashed,
    ExtractionLimit,
    InvalidInput,
    UnreadablePage,
)
from domain.ports import ExtractedText, ExtractionJob, RenderJob

Progress = Callable[[int, int | None], None]

_KINDS: dict[str, type[DomainError]] = {
    kind.code: kind
    for kind in (
        errors.CorruptFile,
        errors.EncryptedFile,
        errors.NoText,
        errors.UnreadableText,
        errors.UnreadablePage,
        errors.ExtractionLimit,
        errors.UnsupportedFormat,
        errors.ArchiveTooLarge,
    )
}
# A reader that breaks is followed by another one, where there is another.
_READERS = {Format.PDF: (PDFIUM, PYPDF), Format.XLSX: (CALAMINE, OPENPYXL)}
_PLAIN = frozenset({Format.TEXT, Format.MARKDOWN})
# Small documents take milliseconds each; one that takes longer is taken out of the group.
_TOGETHER_SECONDS = 30
# How readers end themselves where they cannot go on.
_READER_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGFPE, signal.SIGSYS}
)


class SubprocessExtractor:
    """Reads documents, several at a time. Close it where it was opened; it starts with the first document."""

    def __init__(self) -> None:
        self._nursery = Nursery()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Kill what runs and end the helper process."""
        await self._nursery.aclose()

    async def extract(self, job: ExtractionJob, progress: Progress) -> ExtractedText:
        """Write the pages to `job.target`, which is there afterwards only if all of them are."""
        deadline = asyncio.get_running_loop().time() + job.limits.wall_seconds
        try:
            return await self._read(job, progress, deadline)
        except BaseException:
            job.target.unlink(missing_ok=True)
            raise

    async def extract_together(self, jobs: Sequence[ExtractionJob]) -> list[ExtractedText | DomainError | None]:
        """Read small documents one after another in one child.

        A child that dies leaves None for the document that it died of, and for those behind it. None of them
        gets another reader here: what cannot be read this way is for `extract` to judge.
        """
        limits = jobs[0].limits
        order = order_of(READ, jobs[0], wall_seconds=min(limits.wall_seconds, _TOGETHER_SECONDS))
        order["cpu_seconds"] = min(limits.cpu_seconds, _TOGETHER_SECONDS)
        order["together"] = [
            {
                "source": str(job.source.absolute()),
                "target": str(job.target.absolute()),
                "format": job.format.value,
                "reader": _READERS.get(job.format, (ONLY, None))[0],
                "encoding": job.encoding,
            }
            for job in jobs
        ]
        outcome = await self._nursery.run(order, _unseen)
        return [_part(outcome.parts.get(number)) for number in range(len(jobs))]

    async def _read(self, job: ExtractionJob, progress: Progress, deadline: float) -> ExtractedText:
        first, second = _READERS.get(job.format, (ONLY, None))
        outcome = await self._attempt(job, progress, deadline, first)
        if second is not None and _is_readers_fault(outcome, job):
            outcome = await self._attempt(job, progress, deadline, second)
        if job.format not in _PLAIN and _is_readers_fault(outcome, job):
            raise CorruptFile(CORRUPT if job.format is Format.PDF else CORRUPT_DOCUMENT)
        return _judge(outcome, job)

    async def _attempt(self, job: ExtractionJob, progress: Progress, deadline: float, reader: str) -> Outcome:
        left = deadline - asyncio.get_running_loop().time()
        order = order_of(READ, job, wall_seconds=max(left, 0.0))
        return await self._nursery.run(
            {**order, "reader": reader, "recognizable": job.recognizable, "encoding": job.encoding}, progress
        )

    async def render(self, job: RenderJob) -> None:
        """Draw one page into `job.target`."""
        order = order_of(RENDER, job, wall_seconds=job.limits.wall_seconds)
        outcome = await self._nursery.run({**order, "page": job.page, "dots_per_inch": job.dots_per_inch}, _unseen)
        if outcome.done is not None:
            return
        if outcome.broke is None:
            try:
                _judge(outcome, job)
            except InvalidInput:
                raise UnreadablePage(UNDRAWABLE) from None
        raise UnreadablePage(UNDRAWABLE)


def order_of(task: str, job: ExtractionJob | RenderJob, *, wall_seconds: float) -> Order:
    """Write a job as the child reads it."""
    return {
        "job": 0,  # the nursery numbers it
        "task": task,
        "source": str(job.source.absolute()),
        "target": str(job.target.absolute()),
        "format": job.format.value,
        "reader": PDFIUM,
        "recognizable": False,
        "page": 0,
        "dots_per_inch": 0,
        "memory_bytes": job.limits.memory_bytes,
        "cpu_seconds": job.limits.cpu_seconds,
        "wall_seconds": wall_seconds,
        "pages": job.limits.pages,
        "output_bytes": job.limits.output_bytes,
        "archive_entries": job.limits.archive_entries,
        "archive_bytes": job.limits.archive_bytes,
        "archive_ratio": job.limits.archive_ratio,
        "encoding": None,
    }


def _part(told: tuple[int, int, str | None] | tuple[str, str] | None) -> ExtractedText | DomainError | None:
    match told:
        case None:
            return None
        case (str(code), str(message)):
            return _KINDS.get(code, ExtractionCrashed)(message)
        case (int(pages), int(characters), encoding):
            return ExtractedText(pages, characters, encoding)
    raise AssertionError("a part is told by totals or by an error")


def _unseen(_done: int, _total: int | None) -> None:
    """Nobody watches documents that are read together."""


def _is_readers_fault(outcome: Outcome, job: ExtractionJob) -> bool:
    """Tell a parser that broke from a limit that it met; an allocation that fails also ends in SIGABRT."""
    if outcome.broke is not None:
        return True
    return outcome.signal in _READER_FAULTS and outcome.peak_bytes < job.limits.memory_bytes // 2


def _judge(outcome: Outcome, job: ExtractionJob | RenderJob) -> ExtractedText:
    if outcome.done is not None:
        return ExtractedText(*outcome.done, tuple(outcome.without_text))
    if outcome.error is not None:
        code, message = outcome.error
        raise _KINDS[code](message)
    if outcome.timed_out or outcome.signal in {signal.SIGXCPU, signal.SIGALRM}:
        raise ExtractionLimit(TOO_SLOW)
    if outcome.signal == signal.SIGKILL and outcome.cpu_seconds >= job.limits.cpu_seconds:
        raise ExtractionLimit(TOO_SLOW)
    if outcome.signal in _READER_FAULTS:
        raise ExtractionLimit(OUT_OF_MEMORY)
    # Also SIGKILL from elsewhere, for example the system's own memory guard.
    raise ExtractionCrashed(LOST)
