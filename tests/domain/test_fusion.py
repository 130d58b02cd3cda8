"""Putting both arms' findings in one order: which arm is believed, and that the order is one of the question alone."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from domain.ids import ChunkId
from domain.retrieval import Candidate, SearchMode, fuse


def found(coverages: Sequence[float], cosines: Sequence[float | None], *, first: int = 0) -> list[Candidate]:
    """Candidates that are numbered on from the first."""
    pairs = enumerate(zip(coverages, cosines, strict=True), first)
    return [Candidate(ChunkId(UUID(int=number)), cosine, coverage) for number, (coverage, cosine) in pairs]


def order(candidates: Sequence[Candidate], *, limit: int = 50, fluency: float = 1.0) -> list[int]:
    ranked = fuse(candidates, SearchMode.HYBRID, limit=limit, fluency=fluency)
    return [candidate.chunk_id.int for candidate, _ in ranked]


FLAT_WORDS = [0.95, *[0.94] * 18, 0.3]
FLAT_COSINES = [0.50 + 0.001 * (number % 7) for number in range(20)]


def test_what_is_best_in_both_arms_comes_first() -> None:
    assert order(found([0.2, 0.9, 0.4], [0.3, 0.8, 0.4]))[0] == 1


def test_the_arm_is_believed_whose_best_chunk_stands_alone() -> None:
    near = [*FLAT_COSINES[:-1], 0.9]
    assert order(found(FLAT_WORDS, near))[0] == 19
    alone = [0.1] * 19 + [0.6]
    assert order(found(alone, [0.506, *FLAT_COSINES[1:]]))[0] == 19


def test_the_words_decide_where_the_embedding_model_cannot_read_the_question() -> None:
    hits = found([0.9, 0.3, 0.2, 0.2, 0.2, 0.2], [0.1, 0.9, 0.2, 0.1, 0.2, 0.1])
    assert order(hits, fluency=0.0)[0] == 0


@pytest.mark.parametrize("more", [1, 50, 400])
def test_how_deep_the_arms_looked_does_not_change_what_comes_first(more: int) -> None:
    words = [0.9 - 0.01 * number for number in range(50)] + [0.0] * 50
    cosines = [0.2 + 0.001 * number for number in range(50)] + [0.8 - 0.005 * number for number in range(50)]
    further = found([0.05] * more, [0.1] * more, first=100)
    hits = found(words, cosines)
    wide, narrow = (fuse(each, SearchMode.HYBRID, limit=20) for each in ([*hits, *further], hits))
    assert wide == narrow


def test_scores_lie_between_0_and_1_and_order_the_hits() -> None:
    scores = [score for _, score in fuse(found(FLAT_WORDS, FLAT_COSINES), SearchMode.HYBRID, limit=20)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("coverages", "cosines"),
    [([], []), ([0.0], [None]), ([0.4], [0.3]), ([0.0, 0.0], [0.3, 0.2]), ([0.5, 0.5], [0.3, 0.3])],
)
def test_few_hits_and_hits_that_are_alike_are_kept(coverages: list[float], cosines: list[float | None]) -> None:
    assert len(order(found(coverages, cosines))) == len(coverages)
