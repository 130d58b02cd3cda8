"""Where a child writes: pages to a file, progress to its parent; both have their limits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from adapters.extraction.messages import too_much_text
from domain.chunks import Heading, Page
from domain.errors import ExtractionLimit


@dataclass(frozen=True, slots=True)
class Totals:
    """What was written."""

    pages: int
    characters: int
    encoding: str | None
    without_text: Sequence[int] = ()


PIECE = 1 << 16
"""Characters of one line of output, for a text that has no pages or long ones."""


class PageWriter:
    """Writes pages as JSON lines; counts, reports, and stops at the limit of bytes."""

    def __init__(self, target: str, *, output_bytes: int, report: Callable[[int, int | None], None]) -> None:
        self.encoding: str | None = None
        self.has_text = False
        self._file: BinaryIO = open(target, "wb", buffering=1 << 18)  # noqa: SIM115, PTH123  (closed by `finish`)
        self._limit = output_bytes
        self._report = report
        self._bytes = self._pages = self._characters = 0
        self._last: int | None = None
        self._without_text: list[int] = []

    def write(self, page: int | None, text: str, total: int | None, headings: tuple[Heading, ...] = ()) -> None:
        """Append one page, or with the number of the one before a further piece of that."""
        line = Page(page, text, headings).to_line().encode() + b"\n"
        self._bytes += len(line)
        if self._bytes > self._limit:
            raise ExtractionLimit(too_much_text(self._limit))
        self._file.write(line)
        self._pages += page is None or page != self._last
        self._last = page
        self._characters += len(text)
        self.has_text = self.has_text or bool(text and not text.isspace())
        self._report(self._pages, total)

    def write_text(self, text: str) -> None:
        """Append a text that has no pages, in pieces."""
        for at in range(0, len(text), PIECE):
            self.write(None, text[at : at + PIECE], None)

    def write_parts(self, parts: Iterable[str], *, page: int | None = None, total: int | None = None) -> None:
        """Append many short parts of a page, or of a text that has no pages, together."""
        waiting: list[str] = []
        size = 0
        for part in parts:
            waiting.append(part)
            size += len(part)
            if size >= PIECE:
                self.write(page, "".join(waiting), total)
                waiting, size = [], 0
        if waiting:
            self.write(page, "".join(waiting), total)

    def needs_recognition(self, pages: Sequence[int]) -> None:
        """Name the pages, by number, whose text can only be recognised from their image."""
        self._without_text = list(pages)

    def restart(self) -> None:
        """Forget what was written: another reader begins."""
        self._file.seek(0)
        self._file.truncate()
        self._bytes = self._pages = self._characters = 0
        self._last = None
        self._without_text = []
        self.has_text = False

    @property
    def characters(self) -> int:
        """Count what was written."""
        return self._characters

    def finish(self) -> Totals:
        """Close the file."""
        self._file.close()
        return Totals(self._pages, self._characters, self.encoding, self._without_text)
