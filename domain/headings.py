"""Sections of a text that arrives in pieces: Markdown headings (ATX and setext), or a document's own outline."""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domain.chunks import Heading

# A longer line is no heading, and is not kept until its end comes.
LONGEST_LINE = 2000

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_A_TITLE = re.compile(r" {4}|\t| {0,3}(?:[-*+>|]|\d{1,9}[.)][ \t])")
_WORTH_A_LOOK = ("#", "`", "~", "=", "-")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading at `start`, its text after `body`, and the titles from the outermost to its own."""

    start: int
    body: int
    path: tuple[str, ...]


class _Sections:
    """Sections in the order of the text; each lies under the titles of less deep ones before it."""

    def __init__(self) -> None:
        self.sections: deque[Section] = deque([Section(0, 0, ())])
        self.settled = 0
        self._stack: list[tuple[int, str]] = []

    def _begin(self, start: int, body: int, level: int, title: str) -> None:
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        if title:
            self._stack.append((level, title))
        self.sections.append(Section(start, body, tuple(title for _, title in self._stack)))


class Outline(_Sections):
    """Sections as the document's own outline tells them; positions count from the first character that was fed."""

    def feed(self, text: str, headings: Sequence[Heading]) -> None:
        """Take the next piece, with the headings in it; all that start before `settled` are known from then on."""
        for heading in headings:
            start = self.settled + heading.offset
            if start < self.sections[-1].start:  # out of order: its place is not known
                start = self.sections[-1].start
            self._begin(start, start, heading.level, heading.title)
        self.settled += len(text)

    def close(self) -> None:
        """Take the end of the text."""


class HeadingScanner(_Sections):
    """Finds the sections of Markdown; positions count from the first character that was fed."""

    def __init__(self) -> None:
        super().__init__()
        self._position = 0
        self._rest = ""
        self._in_long_line = False
        self._previous = ""
        self._fence = ""

    def feed(self, text: str, headings: Sequence[Heading] = ()) -> None:  # noqa: ARG002  (they are in the text)
        """Take the next piece; sections that start before `settled` are known from then on."""
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line)
        if len(self._rest) > LONGEST_LINE:
            self._position += len(self._rest)
            self._rest, self._previous, self._in_long_line = "", "", True
        self.settled = self._position - (len(self._previous) + 1 if self._previous else 0)

    def close(self) -> None:
        """Take the end of the text."""
        self._line(self._rest)
        self._rest = ""
        self.settled = self._position

    def _line(self, line: str) -> None:
        start = self._position
        self._position += len(line) + 1
        if self._in_long_line or len(line) > LONGEST_LINE:
            self._in_long_line, self._previous = False, ""
            return
        stripped = line.strip()
        if stripped[:1] not in _WORTH_A_LOOK or not stripped:
            if not self._fence:
                self._previous = "" if not stripped or _NOT_A_TITLE.match(line) else line
            return
        self._marked_line(line.rstrip("\r"), stripped, start)

    def _marked_line(self, line: str, stripped: str, start: int) -> None:
        previous, self._previous = self._previous, ""
        if self._fence:
            if stripped == "---" if self._fence == "---" else _closes(stripped, self._fence):
                self._fence = ""
        elif start == 0 and stripped == "---":
            self._fence = "---"  # front matter, of which no line is a heading
        elif fence := _opens(line):
            self._fence = fence
        elif atx := _ATX.match(line):
            self._add(start, len(atx[1]), (atx[2] or "").strip())
        elif previous and (underline := _UNDERLINE.match(line)):
            self._add(start - len(previous) - 1, 1 if underline[1][0] == "=" else 2, previous.strip())
        elif not _NOT_A_TITLE.match(line):
            self._previous = line

    def _add(self, start: int, level: int, title: str) -> None:
        self._begin(start, self._position, level, title)


def _opens(line: str) -> str:
    match = _FENCE.match(line)
    if not match or (match[1][0] == "`" and "`" in match[2]):
        return ""
    return match[1]


def _closes(stripped: str, fence: str) -> bool:
    return len(stripped) >= len(fence) and not stripped.strip(fence[0])


def common_path(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Give the titles that all paths begin with."""
    common: tuple[str, ...] | None = None
    for path in paths:
        if common is None:
            common = path
        while common != path[: len(common)]:
            common = common[:-1]
    return common or ()
