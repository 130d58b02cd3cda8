"""Where an answer cites: the place of each citation's marker in the answer's text."""
# ruff: noqa: RUF001  (marks of quotations)

from collections.abc import Sequence
from dataclasses import dataclass

from domain.citations import Citation
from domain.markers import MARKER, numbers_of

_AFTER_QUOTE = " \t\n.,;:\"'”“»«’)"  # between a quotation and its marker


@dataclass(frozen=True, slots=True)
class Annotation:
    """A citation and the marker that stands for it, as offsets in characters."""

    citation: Citation
    start: int
    end: int


def annotate(answer: str, citations: Sequence[Citation]) -> list[Annotation]:
    """Find each citation's marker: of several of one number the next one, as citations come in their order."""
    places = [(match.start(), match.end(), set(numbers_of(match.group()))) for match in MARKER.finditer(answer)]
    found: list[Annotation] = []
    begun: dict[int, int] = {}
    for citation in citations:
        own = [(start, end) for start, end, numbers in places if citation.marker in numbers]
        later = [place for place in own if place[0] >= begun.get(citation.marker, 0)]
        quoting = [place for place in later if answer[: place[0]].rstrip(_AFTER_QUOTE).endswith(citation.quote)]
        start, end = (quoting or later or own or [(len(answer), len(answer))])[0]
        begun[citation.marker] = end
        found.append(Annotation(citation, start, end))
    return found
