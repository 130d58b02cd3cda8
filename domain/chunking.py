"""Cut a document's text into chunks that know their place.

The extracted text is the concatenation of its pages: joined by a blank line where a format has
pages, by nothing where the pages are only pieces of one text (`full_text`). A chunk's span indexes
it: `full_text[char_start:char_end] == content`.

Chunks hold no white space at their ends and nothing but white space lies between them. No cut is
inside a grapheme cluster; a chunk is longer than `size` only where one cluster is. Work is linear in
the text, and only a window of it is held.
"""
# ruff: noqa: RUF001  (full stops of other scripts look alike)

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import takewhile

from domain.chunks import Page, PlannedChunk
from domain.documents import Format
from domain.graphemes import cluster_end, floor_boundary, is_boundary
from domain.headings import LONGEST_LINE, HeadingScanner, Outline, Section, common_path

SHARD_CHUNKS = 512
"""Planned chunks of one shard: some 64 batches of 8, or 5 of 100, in a single embed activity."""

PAGE_BREAK = "\n\n"

# How many natural boundaries are tried against grapheme clusters before any cluster's end will do.
_TRIES = 4

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_LINE = re.compile(r"\n\s*")
_SENTENCE = re.compile(
    r"""[。！？｡．]+["'”’»)\]）」』】]*\s*"""  # these need no space after them
    r"""|[.!?…؟۔।॥።፧։။៕]+["'”’»)\]）」』]*\s+"""
)
_WORD = re.compile(r"\s+")


def joint(format: Format) -> str:  # noqa: A002  (the domain's word)
    """Give what stands between two pages in the extracted text."""
    return PAGE_BREAK if format.is_paged else ""


def full_text(pages: Iterable[Page], *, format: Format) -> str:  # noqa: A002  (the domain's word)
    """Give the text that spans index."""
    return joint(format).join(page.text for page in pages)


def split(
    pages: Iterable[Page],
    *,
    format: Format,  # noqa: A002  (the domain's word)
    size: int = 1000,
    overlap: int = 150,
) -> Iterator[PlannedChunk]:
    """Plan chunks of `size` characters at most.

    Cuts are made before a heading, else after a paragraph, a line of Markdown, a sentence, a line,
    a word, else between graphemes; in a table between rows. Up to `overlap` characters, whole sentences
    or words, stand in two chunks; none do across a heading or within a table.
    """
    if not 0 <= overlap * 2 <= size or size < 1:
        raise ValueError("overlap must be at most half of size, and size positive")
    return _Splitter(_Text(pages, joint(format), markdown=format.is_markdown), size, overlap).chunks()


class _Text:
    """A window over the text: pages come in on demand, what is passed is dropped."""

    def __init__(self, pages: Iterable[Page], between: str, *, markdown: bool) -> None:
        self.window = ""
        self.base = 0  # the window's first character, in the text
        self.ended = False
        self.markdown = markdown
        self._headings = HeadingScanner() if markdown else Outline()
        self._pages = iter(pages)
        self._between = between
        self._first = True
        self._spans: deque[tuple[int, int | None]] = deque()  # where a page ends, and its number
        self._length = 0

    def reach(self, start: int, end: int) -> None:
        """Hold the text from `start` to beyond `end`, headings known, or to its end."""
        pieces: list[str] = []
        while not self.ended and not (self._length > end and self._headings.settled > end):
            page = next(self._pages, None)
            if page is None:
                self.ended = True
                self._headings.close()
                break
            before = "" if self._first else self._between
            text, self._first = before + page.text, False
            self._length += len(text)
            if page.number is not None and self._spans and self._spans[-1][1] == page.number:
                self._spans.pop()  # a further piece of the same page
            self._spans.append((self._length, page.number))
            pieces.append(text)
            self._headings.feed(text, [each._replace(offset=each.offset + len(before)) for each in page.headings])
        if pieces:
            self.window = self.window[start - self.base :] + "".join(pieces)
            self.base = start

    def pages(self, start: int, end: int) -> tuple[int | None, int | None, tuple[int, ...]]:
        """Give the pages of the first and the last character, and where in between one starts.

        Starts never go back from call to call.
        """
        while self._spans[0][0] <= start:
            self._spans.popleft()
        last = next(number for stop, number in self._spans if stop >= end)
        breaks = (stop - start for stop, number in takewhile(lambda span: span[0] < end, self._spans) if number)
        return self._spans[0][1], last, tuple(breaks)

    def sections(self, start: int, end: int) -> Iterator[Section]:
        """Give the sections that reach into the span; starts never go back."""
        known = self._headings.sections
        while len(known) > 1 and known[1].start <= start:
            known.popleft()
        for section in known:
            if section.start >= end:
                return
            yield section


class _Splitter:
    def __init__(self, text: _Text, size: int, overlap: int) -> None:
        self._text = text
        self._size = size
        self._overlap = overlap
        self._order = (
            (_PARAGRAPH, _SENTENCE, _LINE, _WORD) if not text.markdown else (_PARAGRAPH, _LINE, _SENTENCE, _WORD)
        )

    def chunks(self) -> Iterator[PlannedChunk]:
        ordinal, begin, covered = 0, 0, 0
        while True:
            start = self._skip_space(begin)
            if start is None:
                return
            cut, at_heading = self._cut(start, max(covered, start))
            end = self._trim(start, cut)
            if end > covered:
                first, last, page_starts = self._text.pages(start, end)
                content, path = self._slice(start, end), self._path(start, end)
                yield PlannedChunk(ordinal, content, first, last, start, end, path, page_starts)
                ordinal += 1
                begin = cut if at_heading else self._step_back(start, cut)
                covered = end
            else:
                begin = cut

    # Positions below are in the text; `_local` turns one into an index of the window.

    def _local(self, position: int) -> int:
        return position - self._text.base

    def _slice(self, start: int, end: int) -> str:
        return self._text.window[self._local(start) : self._local(end)]

    def _is_boundary(self, start: int, position: int) -> bool:
        return is_boundary(self._text.window, self._local(start), self._local(position))

    def _skip_space(self, start: int) -> int | None:
        """Find the next chunk's first character; none where only white space is left."""
        position = start
        while True:
            # Beyond the window's need, so that the pages of long white space are passed in strides.
            self._text.reach(max(start, position - 1), position + self._size)
            text, begin = self._text.window, self._local(position)
            found = next((i for i in range(begin, min(len(text), begin + self._size)) if not text[i].isspace()), None)
            if found is not None:
                position = found + self._text.base
                # A space that carries a combining mark is not white space.
                return position if position == start or self._is_boundary(max(start, position - 1), position) \
                    else position - 1  # fmt: skip
            if begin + self._size >= len(text) and self._text.ended:
                return None
            position += self._size

    def _cut(self, start: int, covered: int) -> tuple[int, bool]:
        """Choose where the chunk ends, beyond `covered`; tell whether a heading follows."""
        limit = start + self._size
        self._text.reach(start, limit + LONGEST_LINE if self._text.markdown else limit)
        if (heading := self._heading(start, covered, limit)) is not None:
            return heading, True
        text = self._text.window
        if self._local(limit) >= len(text):
            return self._text.base + len(text), False
        floor = max(start + self._size // 2, covered + 1)
        for pattern in self._order:
            if pattern is _SENTENCE and self._in_table(self._local(limit)):
                floor = covered + 1  # a short chunk is better than a row that is cut
                if (found := self._last(_LINE, start, floor, limit)) is not None:
                    return found, False
            if (found := self._last(pattern, start, floor, limit)) is not None:
                return found, False
        hard = floor_boundary(text, self._local(start), self._local(limit)) + self._text.base
        if hard <= covered:
            # Nothing new fits beside the overlap: go on without it, and with a cluster alone where it must be.
            hard = covered if start < covered else self._long_cluster(start)
        return hard, False

    def _heading(self, start: int, covered: int, limit: int) -> int | None:
        """Find the first heading that ends a chunk of some length which has a body."""
        least = max(start + self._size // 4, covered + 1)
        body = False
        before: Section | None = None
        for section in self._text.sections(start, limit):
            if before and not body:
                body = bool(self._slice(max(start, before.body), section.start).strip())
            if section.start >= least and body and self._is_boundary(start, section.start):
                return section.start
            before = section
        return None

    def _last(self, pattern: re.Pattern[str], start: int, floor: int, limit: int) -> int | None:
        text, low, high = self._text.window, self._local(floor), self._local(limit)
        # White space right after the limit counts: it is trimmed, so it takes no room.
        matches = pattern.finditer(text, low - 1, high + 1)
        ends = [min(match.end(), high) for match in matches if match.end() <= high or text[high].isspace()]
        for end in ends[: -_TRIES - 1 : -1]:
            if end < low or (pattern is _SENTENCE and self._in_table(end)):
                continue
            if is_boundary(text, self._local(start), end):
                return end + self._text.base
        return None

    def _in_table(self, position: int) -> bool:
        if not self._text.markdown:
            return False
        text = self._text.window
        line = text.rfind("\n", max(0, position - LONGEST_LINE), position) + 1
        return text[line:position].lstrip().startswith("|")

    def _long_cluster(self, start: int) -> int:
        """Give the end of a cluster that is longer than a chunk; doubling keeps this linear."""
        reach = 2 * self._size
        while True:
            self._text.reach(start, start + reach)
            end = cluster_end(self._text.window, self._local(start)) + self._text.base
            if self._local(end) < len(self._text.window) or self._text.ended:
                return end
            reach *= 2

    def _trim(self, start: int, cut: int) -> int:
        content = self._slice(start, cut)
        end = start + len(content.rstrip())
        while end < cut and not self._is_boundary(start, end):
            end += 1
        return end

    def _step_back(self, start: int, cut: int) -> int:
        """Choose where the next chunk begins: a sentence or word within the overlap, else the cut."""
        low = max(start + 1, cut - self._overlap)
        if low >= cut or (self._text.ended and self._local(cut) >= len(self._text.window)):
            return cut
        text, first, last = self._text.window, self._local(low), self._local(cut)
        if self._in_table(self._local(start) + len(self._slice(start, cut).rstrip())):
            return cut  # half a row, or rows without their header, would say nothing
        for pattern in (_SENTENCE, _LINE, _WORD):
            for count, match in enumerate(pattern.finditer(text, first, last)):
                if count == _TRIES or match.end() >= last:
                    break
                if is_boundary(text, self._local(start), match.end()):
                    return match.end() + self._text.base
        if _WORD.search(text, first, last):
            return cut
        back = floor_boundary(text, self._local(start), first) + self._text.base
        return back if back > start and cut - back <= self._overlap else cut

    def _path(self, start: int, end: int) -> tuple[str, ...]:
        sections = list(self._text.sections(start, end))
        if not sections:
            return ()
        stops = [*(section.start for section in sections[1:]), end]
        with_body = [
            section.path
            for section, stop in zip(sections, stops, strict=True)
            if self._slice(max(start, section.body), stop).strip()
        ]
        return common_path(with_body or [sections[-1].path])
