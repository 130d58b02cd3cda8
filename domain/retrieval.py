"""Retrieval: what a search is, what a hit is, and which hits become the prompt's passages."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from domain.ids import ChunkId, DocumentId


class SearchMode(StrEnum):
    """Which arms of the search are used."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    KEYWORD = "keyword"


class Candidate(NamedTuple):
    """A chunk that an arm found, and what both think of it: see `Hit`."""

    chunk_id: ChunkId
    similarity: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that a search found.

    `score` orders the hits and lies between 0 and 1 in every mode: the cosine similarity (vector), the share of the
    question's words that the chunk has, each weighed by its rarity (keyword), both in one, 1 for a chunk that is
    best by its words and stands out by its vector (hybrid). `similarity` is the cosine where chunk and question were
    embedded by the same model; `coverage` is the keyword score. The chunk is characters `char_start` to `char_end` of
    its document's text, and its `ordinal`-th.
    """

    chunk_id: ChunkId
    document_id: DocumentId
    document_name: str
    page: int | None
    heading_path: tuple[str, ...]
    content: str
    score: float
    similarity: float | None = None
    page_starts: tuple[int, ...] = ()
    coverage: float = 0.0
    ordinal: int = 0
    char_start: int = 0
    char_end: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit as the prompt names it: `marker` is the number in the answer's `[1]`."""

    marker: int
    chunk_id: ChunkId
    document_id: DocumentId
    document_name: str
    page: int | None
    heading_path: tuple[str, ...]
    content: str
    score: float
    page_starts: tuple[int, ...] = ()
    char_start: int | None = None
    """Where its content begins in the document's text; none where a turn of an older release retrieved it."""
    later_chunks: tuple[ChunkId, ...] = ()
    """The neighbours that follow `chunk_id` in the same passage, which begin at `chunk_starts` in its content."""
    chunk_starts: tuple[int, ...] = ()

    def page_at(self, offset: int) -> int | None:
        """Give the page that this character of the content stands on; `page` is the first one's."""
        return None if self.page is None else self.page + bisect_right(self.page_starts, offset)

    def chunk_at(self, offset: int) -> ChunkId:
        """Give the chunk that holds this character of the content; of two that overlap, the later one."""
        return (self.chunk_id, *self.later_chunks)[bisect_right(self.chunk_starts, offset)]


# Measured on seven sets of questions (docs/evaluation.md). The vectors' share grows where no chunk has much of the
# question, and where the nearest chunk stands out more than the one with most of its words; it shrinks where the
# embedding model cannot read the question.
_SHARE_OF_VECTORS = 0.4  # where some chunk has most of the question's words
_SHARE_WITHOUT_WORDS = 0.9  # where none has
_MUCH_COVERED, _LITTLE_COVERED = 0.9, 0.5
_SHARE_OF_THE_SURER = 0.6  # that an arm gains whose best chunk stands alone, where the other's does not
_RUNNER_UP = 5  # the place, counted from 0, that the best is compared with
_ALONE = 4.0  # deviations between them that say as much as words that only one chunk has
_LEAST_SHARE, _MOST_SHARE = 0.05, 0.95
_SHARE_UNREAD = 0.2  # where the embedding model reads none of the question's words
_READS, _READS_NOT = 0.65, 0.45  # share of the words that it knows
_DEVIATIONS = 6.0  # that a chunk which stands out is above the mean of what was found
_ALIKE = 1e-6  # a deviation that is none
_SOME = 1e-9  # of the words: more than none
_JUDGED = 50  # chunks of each arm that mean and deviation are of, however many are wanted


def fuse(
    found: Sequence[Candidate], mode: SearchMode, *, limit: int, fluency: float = 1.0
) -> list[tuple[Candidate, float]]:
    """Order what the arms found, best first, and give the first `limit` their scores, as `Hit` has them.

    `fluency` is how much of the question the embedding model can read, between 0 and 1.
    """
    scores = {
        SearchMode.VECTOR: lambda: [each.similarity or 0.0 for each in found],
        SearchMode.KEYWORD: lambda: [each.coverage for each in found],
        SearchMode.HYBRID: lambda: _fused(found, fluency),
    }[mode]()
    ranked = sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])[:limit]
    return [(each, min(1.0, max(0.0, score))) for score, each in ranked]


def _fused(found: Sequence[Candidate], fluency: float) -> list[float]:
    words = sorted((each.coverage for each in found), reverse=True)
    cosines = sorted(_judged(found), reverse=True)
    most = words[0] if words else 0.0
    mean, spread = _mean_and_deviation(cosines)
    differ = spread > _ALIKE
    lead = _lead(cosines) / spread / _ALONE - _lead(words) / most if differ and most else 0.0
    share = _share_of_vectors(most, fluency, lead=lead)

    def nearness(similarity: float | None) -> float:
        return (similarity - mean) / spread / _DEVIATIONS if similarity is not None and differ else 0.0

    return [(1 - share) * (each.coverage / most if most else 0.0) + share * nearness(each.similarity) for each in found]


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """As `statistics.pstdev`, whose exact fractions take eight times as long."""
    if not values:
        return 0.0, 0.0
    mean = fmean(values)
    return mean, sqrt(fmean([(value - mean) ** 2 for value in values]))


def _judged(found: Sequence[Candidate]) -> list[float]:
    """Give the cosines of what is best in either arm: a mean of all would move with the number that is wanted."""
    compared = [(each.similarity, each.coverage) for each in found if each.similarity is not None]
    if len(compared) <= _JUDGED:
        return [similarity for similarity, _ in compared]
    least_near = sorted((similarity for similarity, _ in compared), reverse=True)[_JUDGED - 1]
    least_covered = max(sorted((coverage for _, coverage in compared), reverse=True)[_JUDGED - 1], _SOME)
    return [near for near, coverage in compared if near >= least_near or coverage >= least_covered]


def _lead(best_first: Sequence[float]) -> float:
    return best_first[0] - best_first[min(_RUNNER_UP, len(best_first) - 1)]


def _share_of_vectors(most_covered: float, fluency: float, *, lead: float) -> float:
    """`lead` is how much more the nearest chunk stands out than the one with most of the words, -1 to about 1."""
    uncovered = _part(most_covered, _MUCH_COVERED, _LITTLE_COVERED)
    share = _SHARE_OF_VECTORS + uncovered * (_SHARE_WITHOUT_WORDS - _SHARE_OF_VECTORS) + _SHARE_OF_THE_SURER * lead
    read = min(_MOST_SHARE, max(_LEAST_SHARE, share))
    return _SHARE_UNREAD + readable(fluency) * (read - _SHARE_UNREAD)


def readable(fluency: float) -> float:
    """Tell how far an embedding model that knows this share of the words is to be believed: 0 not at all, 1 wholly."""
    return _part(fluency, _READS_NOT, _READS)


def _part(value: float, nothing: float, whole: float) -> float:
    """Tell how far a value is on its way from the one that counts nothing to the one that counts in full."""
    return min(1.0, max(0.0, (value - nothing) / (whole - nothing)))


def combine(found: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Put together what several queries found, best first: a chunk counts as for the query that it fits best."""
    best: dict[ChunkId, Hit] = {}
    for hit in (each for hits in found for each in hits):
        if hit.chunk_id not in best or best[hit.chunk_id].score < hit.score:
            best[hit.chunk_id] = hit
    return sorted(best.values(), key=lambda hit: -hit.score)


def relevant(hits: Sequence[Hit], *, min_score: float) -> list[Hit]:
    """Drop what is too far from the question: by cosine similarity, or by score where there is none.

    A fused rank says which hit is the better one, and nothing about how good it is.
    """
    return [hit for hit in hits if (hit.score if hit.similarity is None else hit.similarity) >= min_score]


def number_on(known: Sequence[Passage], found: Sequence[Passage]) -> tuple[list[Passage], list[Passage]]:
    """Number what was found on from the passages that are known; give all that was found, and what is new of it.

    A passage that is known keeps its number.
    """
    by_chunk = {passage.chunk_id: passage for passage in known}
    last = max((passage.marker for passage in known), default=0)
    new = [passage for passage in found if passage.chunk_id not in by_chunk]
    new = [replace(passage, marker=last + number) for number, passage in enumerate(new, start=1)]
    by_chunk |= {passage.chunk_id: passage for passage in new}
    return [by_chunk[passage.chunk_id] for passage in found], new
