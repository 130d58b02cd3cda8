"""Pages as extraction stores them, and chunks as they are planned: one JSON line each."""

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple


class Heading(NamedTuple):
    """An entry of a document's outline: where in its page's text it begins, how deep it lies (1 is outermost), its title."""

    offset: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page's text, or with no number one piece of a text that has no pages."""

    number: int | None
    text: str
    headings: tuple[Heading, ...] = ()

    def to_line(self) -> str:
        """Write as one JSON line, without its line feed."""
        outline = {"headings": self.headings} if self.headings else {}
        return json.dumps({"page": self.number, "text": self.text, **outline}, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> "Page":
        """Read what `to_line` wrote."""
        data = json.loads(line)
        return cls(data["page"], data["text"], tuple(Heading(*entry) for entry in data.get("headings", ())))


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A chunk to be embedded: its text and where it is from."""

    ordinal: int
    content: str
    page_from: int | None
    page_to: int | None
    char_start: int
    char_end: int
    heading_path: tuple[str, ...] = ()
    # Where in the content the pages after `page_from` start, so that a quotation's own page is known.
    page_starts: tuple[int, ...] = ()

    def to_line(self) -> str:
        """Write as one JSON line, without its line feed."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> "PlannedChunk":
        """Read what `to_line` wrote."""
        data = json.loads(line)
        data["heading_path"] = tuple(data["heading_path"])
        data["page_starts"] = tuple(data["page_starts"])
        return cls(**data)
