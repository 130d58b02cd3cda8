"""A chunk in its context: the text around it, put together from its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a document's text, and where it begins in it."""

    char_start: int
    content: str

    @property
    def char_end(self) -> int:
        """Where it ends."""
        return self.char_start + len(self.content)


def joined(spans: Sequence[Span]) -> Span:
    """Put pieces together that follow or overlap each other, in their order.

    Between chunks lies nothing but white space, which is not stored: a space, or a line feed and spaces, stand for
    it, so that every character keeps its place in the document's text.
    """
    text, start = "", spans[0].char_start
    for span in spans:
        end = start + len(text)
        if span.char_end <= end:
            continue
        gap = span.char_start - end
        between = "\n" + " " * (gap - 1) if gap > 1 else " " * gap
        text += between + span.content[max(0, -gap) :]
    return Span(start, text)


def around(chunk: Span, neighbours: Sequence[Span], reach: int) -> tuple[str, str]:
    """Give the text before and after a chunk, `reach` characters of each at most; `neighbours` hold the chunk."""
    first, last = chunk.char_start - reach, chunk.char_end + reach
    whole = joined([span for span in neighbours if span.char_end >= first and span.char_start <= last])
    at, end = chunk.char_start - whole.char_start, chunk.char_end - whole.char_start
    return whole.content[max(0, at - reach) : at], whole.content[end : end + reach]
