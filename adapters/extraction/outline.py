"""A PDF's outline (bookmarks): which entries begin on a page, and where in its text."""

import re
from collections import defaultdict
from itertools import islice

import pypdfium2

from domain.chunks import Heading

_ENTRIES = 5000
_DEPTH = 6
_LONGEST_TITLE = 120  # characters; what is longer is a paragraph that somebody marked
_WORDS = 20  # of a title that are looked for
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff\ud800-\udfff]+")

Entries = dict[int, list[tuple[int, str]]]
"""Level (1 is outermost) and title of what begins on a page, by the page's index, in the outline's order."""


def entries_of(document: pypdfium2.PdfDocument) -> Entries:
    """Read the outline; one that cannot be read is none. Entries without a page of their own are left out."""
    found: Entries = defaultdict(list)
    try:
        for bookmark in islice(document.get_toc(max_depth=_DEPTH), _ENTRIES):
            target, title = bookmark.get_dest(), _clean(bookmark.get_title())
            index = target.get_index() if target else None
            if index is not None and 0 < len(title) <= _LONGEST_TITLE:
                found[index].append((bookmark.level + 1, title))
    except (pypdfium2.PdfiumError, UnicodeError, ValueError):
        return {}
    return dict(found)


def place(entries: list[tuple[int, str]], text: str) -> tuple[Heading, ...]:
    """Find where each entry begins: at the line that holds its title, else where the entry before it does."""
    headings: list[Heading] = []
    at = 0
    for level, title in entries:
        pattern = r"\s+".join(map(re.escape, title.split()[:_WORDS]))
        if match := re.compile(pattern, re.IGNORECASE).search(text, at):
            at = max(at, text.rfind("\n", 0, match.start()) + 1)
        headings.append(Heading(at, level, title))
    return tuple(headings)


def _clean(title: str) -> str:
    return " ".join(_UNPRINTABLE.sub(" ", title).split())
