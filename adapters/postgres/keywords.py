"""The terms of a chunk as one sparse vector, and questions of them that one inner product answers.

A term has two places: the odd one holds 1, so that powers of two there tell which terms of a question a chunk has;
the even one holds its weight, so that rarities there add up to the chunk's score.
"""

from collections.abc import Mapping, Sequence
from struct import pack

import numpy as np
from numpy.typing import NDArray
from pgvector import SparseVector

from domain import terms

WIDTH = 2 * terms.SPACE
MASK_TERMS = 24
"""Terms that one mask tells apart: pgvector adds up single precision, which is exact up to 2^24."""


class _Encoded(SparseVector):
    """A vector that is written already."""

    def __init__(self, binary: bytes) -> None:
        self._binary = binary

    def to_binary(self) -> bytes:
        return self._binary


def encode(weights: Mapping[int, float]) -> SparseVector:
    """Write a chunk's terms, for COPY. In arrays: 11 µs for 110 terms, where a dictionary of places takes 70."""
    count = len(weights)
    numbers = np.fromiter(weights.keys(), np.int64, count)
    order = numbers.argsort()
    places, values = np.empty((count, 2), ">i4"), np.empty((count, 2), ">f4")
    places[:, 0] = 2 * numbers[order] - 2
    places[:, 1] = 2 * numbers[order] - 1
    values[:, 0] = 1
    values[:, 1] = np.fromiter(weights.values(), np.float64, count)[order]
    return _Encoded(pack(">iii", WIDTH, 2 * count, 0) + places.tobytes() + values.tobytes())


def as_text(weights: Mapping[int, float]) -> str:
    """Write a chunk's terms, for a statement."""
    return str(SparseVector.from_binary(encode(weights).to_binary()).to_text())


def read(sent: bytes) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Read a chunk's terms, in order, and their weights, from what Postgres sends (`sparsevec_send`)."""
    places = int.from_bytes(sent[4:8], "big")
    indices = np.frombuffer(sent, ">i4", places, 12)[1::2]
    weights = np.frombuffer(sent, ">f4", places, 12 + 4 * places)[1::2]
    return ((indices + 1) // 2).astype(np.int32), weights.astype(np.float32)


def masks(wanted: Sequence[int]) -> list[SparseVector]:
    """Ask which of these terms a chunk has: bit `i` of answer `n` stands for term `n * MASK_TERMS + i`."""
    parts = [wanted[at : at + MASK_TERMS] for at in range(0, len(wanted), MASK_TERMS)]
    return [SparseVector({2 * term - 2: float(1 << bit) for bit, term in enumerate(part)}, WIDTH) for part in parts]


def scores(rarities: Mapping[int, float]) -> SparseVector:
    """Ask for the sum of a chunk's weights, each times the rarity of its term."""
    return SparseVector({2 * term - 1: rarity for term, rarity in rarities.items()}, WIDTH)
