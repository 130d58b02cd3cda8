"""Retrieval: what a search is, what a hit is, and which hits become the prompt's passages."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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

    `score` orders the hits and lies between 0 and 1 in every mode: the cosine similarity (vector), the share of
    the question's words that the chunk has (keyword), the fused rank with 1 for the best of both arms (hybrid).
    `similarity` is the cosine where chunk and question were embedded by the same model.
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
