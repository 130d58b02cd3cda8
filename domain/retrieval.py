"""Retrieval: what a search is, what a hit is, and which hits become the prompt's passages."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean, pstdev

from domain.conversation import estimate_tokens
from domain.ids import ChunkId, DocumentId


class SearchMode(StrEnum):
    """Which arms of the search are used."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    KEYWORD = "keyword"


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that a search found.

    `score` orders the hits and lies between 0 and 1 in every mode: the cosine similarity (vector), the share of the
    question's words that the chunk has, each weighed by its rarity (keyword), both in one, 1 for a chunk that is
    best by its words and stands out by its vector (hybrid). `similarity` is the cosine where chunk and question were
    embedded by the same model; `coverage` is the keyword score.
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

    def page_at(self, offset: int) -> int | None:
        """Give the page that this character of the content stands on; `page` is the first one's."""
        return None if self.page is None else self.page + bisect_right(self.page_starts, offset)


# Measured on seven sets of questions (docs/evaluation.md). The vectors' share grows where no chunk has much of the
# question, and shrinks where the embedding model cannot read it.
_SHARE_OF_VECTORS = 0.4  # where some chunk has most of the question's words
_SHARE_WITHOUT_WORDS = 0.7  # where none has
_MUCH_COVERED, _LITTLE_COVERED = 0.9, 0.5
_SHARE_UNREAD = 0.2  # where the embedding model reads none of the question's words
_READS, _READS_NOT = 0.65, 0.45  # share of the words that it knows
_DEVIATIONS = 5.0  # that a chunk which stands out is above the mean of all that were found


def fuse(found: Sequence[Hit], mode: SearchMode, *, fluency: float = 1.0) -> list[Hit]:
    """Order what the arms found, best first, and give each its score.

    `fluency` is how much of the question the embedding model can read, between 0 and 1.
    """
    scores = {
        SearchMode.VECTOR: lambda: [each.similarity or 0.0 for each in found],
        SearchMode.KEYWORD: lambda: [each.coverage for each in found],
        SearchMode.HYBRID: lambda: _fused(found, fluency),
    }[mode]()
    ranked = sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])
    return [replace(each, score=min(1.0, max(0.0, score))) for score, each in ranked]


def _fused(found: Sequence[Hit], fluency: float) -> list[float]:
    most = max((each.coverage for each in found), default=0.0)
    similar = [each.similarity for each in found if each.similarity is not None]
    mean = fmean(similar) if similar else 0.0
    spread = pstdev(similar) if similar else 0.0
    share = _share_of_vectors(most, fluency)

    def nearness(similarity: float | None) -> float:
        return (similarity - mean) / spread / _DEVIATIONS if similarity is not None and spread > 1e-6 else 0.0

    return [(1 - share) * (each.coverage / most if most else 0.0) + share * nearness(each.similarity) for each in found]


def _share_of_vectors(most_covered: float, fluency: float) -> float:
    uncovered = _part(most_covered, _MUCH_COVERED, _LITTLE_COVERED)
    read = _SHARE_OF_VECTORS + uncovered * (_SHARE_WITHOUT_WORDS - _SHARE_OF_VECTORS)
    return _SHARE_UNREAD + _part(fluency, _READS_NOT, _READS) * (read - _SHARE_UNREAD)


def _part(value: float, nothing: float, whole: float) -> float:
    """Tell how far a value is on its way from the one that counts nothing to the one that counts in full."""
    return min(1.0, max(0.0, (value - nothing) / (whole - nothing)))


def relevant(hits: Sequence[Hit], *, min_score: float) -> list[Hit]:
    """Drop what is too far from the question: by cosine similarity, or by score where there is none.

    A fused rank says which hit is the better one, and nothing about how good it is.
    """
    return [hit for hit in hits if (hit.score if hit.similarity is None else hit.similarity) >= min_score]


def pick_passages(hits: Sequence[Hit], *, top_k: int, budget: int) -> list[Passage]:
    """Take the best hits, `top_k` at most, that fit into `budget` tokens together.

    A hit that does not fit is passed over, so that one long passage does not shut out the rest.
    """
    picked: list[Passage] = []
    left = budget
    for hit in sorted(hits, key=lambda h: -h.score):
        if len(picked) == top_k:
            break
        cost = estimate_tokens(hit.content)
        if cost > left:
            continue
        left -= cost
        picked.append(
            Passage(
                marker=len(picked) + 1,
                chunk_id=hit.chunk_id,
                document_id=hit.document_id,
                document_name=hit.document_name,
                page=hit.page,
                heading_path=hit.heading_path,
                content=hit.content,
                score=hit.score,
                page_starts=hit.page_starts,
            )
        )
    return picked
