"""Retrieval: what a search is, what a hit is, and which hits become the prompt's passages."""

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
    """One chunk that a search found; `score` is larger for better, its range depends on the mode."""

    chunk_id: ChunkId
    document_id: DocumentId
    document_name: str
    page: int | None
    heading_path: tuple[str, ...]
    content: str
    score: float
    similarity: float | None = None


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
            )
        )
    return picked
