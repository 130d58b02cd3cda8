"""The terms of a chunk as one sparse vector, and questions of them that one inner product answers.

A term has two places: the odd one holds 1, so that powers of two there tell which terms of a question a chunk has;
the even one holds its weight, so that rarities there add up to the chunk's score.
"""

from collections.abc import Mapping, Sequence

from pgvector import SparseVector

from domain import terms

WIDTH = 2 * terms.SPACE
MASK_TERMS = 24
"""Terms that one mask tells apart: pgvector adds up single precision, which is exact up to 2^24."""


def encode(weights: Mapping[int, float]) -> SparseVector:
    """Write a chunk's terms."""
    places = {2 * term - 1: weight for term, weight in weights.items()}
    places.update((2 * term - 2, 1.0) for term in weights)
    return SparseVector(places, WIDTH)


def masks(wanted: Sequence[int]) -> list[SparseVector]:
    """Ask which of these terms a chunk has: bit `i` of answer `n` stands for term `n * MASK_TERMS + i`."""
    parts = [wanted[at : at + MASK_TERMS] for at in range(0, len(wanted), MASK_TERMS)]
    return [SparseVector({2 * term - 2: float(1 << bit) for bit, term in enumerate(part)}, WIDTH) for part in parts]


def scores(rarities: Mapping[int, float]) -> SparseVector:
    """Ask for the sum of a chunk's weights, each times the rarity of its term."""
    return SparseVector({2 * term - 1: rarity for term, rarity in rarities.items()}, WIDTH)
