"""Where a child writes: pages to a file, progress to its parent; both have their limits."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from adapters.extraction.messages import too_much_text
from domain.errors import ExtractionLimit


@dataclass(frozen=True, slots=True)
class Totals:
    """What was written."""

    pages: int
    characters: int


class PageWriter:
    """Writes pages as JSON lines; counts, reports, and stops at the limit of bytes."""

    def __init__(self, target: str, *, output_bytes: int, report: Callable[[int, int | None], None]) -> None:
        self._file: BinaryIO = open(target, "wb", buffering=1 << 18)  # noqa: SIM115, PTH123  (closed by `finish`)
        self._limit = output_bytes
        self._report = report
        self._bytes = self._pages = self._characters = 0

    def write(self, page: int | None, text: str, total: int | None) -> None:
        """Append one page."""
        line = json.dumps({"page": page, "text": text}, ensure_ascii=False).encode() + b"\n"
        self._bytes += len(line)
        if self._bytes > self._limit:
            raise ExtractionLimit(too_much_text(self._limit))
        self._file.write(line)
        self._pages += 1
        self._characters += len(text)
        self._report(self._pages, total)

    def restart(self) -> None:
        """Forget what was written: another reader begins."""
        self._file.seek(0)
        self._file.truncate()
        self._bytes = self._pages = self._characters = 0

    def finish(self) -> Totals:
        """Close the file."""
        self._file.close()
        return Totals(self._pages, self._characters)
