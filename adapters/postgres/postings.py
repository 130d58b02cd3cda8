"""Postings of a segment's chunks, by term: written once, read for the terms of a question, added up by NumPy.

Terms are spread over buckets by their highest bits. A bucket holds its terms in order, where the postings of each
end, the number of each posting's chunk in the segment, and the chunk's weight in half precision: enough to choose
candidates, which are ranked by what `chunk_keywords` has.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from adapters.postgres import keywords
from domain import terms
from domain.ids import IngestionId

BUCKETS = 1 << 13
_SHIFT = (terms.SPACE // BUCKETS).bit_length() - 1

_BLOCK = 64

PART = np.dtype([("ingestion", "V16"), ("first", ">i4"), ("chunks", ">i4")])
"""A version in a segment: its chunks are numbered from `first` on."""
_NATIVE = np.dtype([("ingestion", "V16"), ("first", "i8"), ("chunks", "i8")])


Packed = NDArray[np.uint64]
"""Postings, each with term, chunk's number and weight in one integer, so that sorting these sorts them by term."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a search reads of a segment: its size, the versions in it that may answer, the buckets it asked for."""

    chunks: int
    parts: bytes  # of `PART`, in the order of their numbers
    buckets: Sequence[bytes]


def buckets_of(wanted: Iterable[int]) -> list[int]:
    """Name the buckets that hold these terms."""
    return sorted({term >> _SHIFT for term in wanted})


def pack(chunks: Iterable[tuple[int, bytes]]) -> Packed:
    """Pack chunks, given by their numbers in the segment and their keywords as Postgres sends these."""
    packed = [_packed(number, sent) for number, sent in chunks]
    return np.concatenate(packed) if packed else np.empty(0, np.uint64)


def encode(packed: Sequence[Packed]) -> Iterator[tuple[int, bytes]]:
    """Write the buckets of a segment."""
    entries = np.concatenate(packed) if packed else np.empty(0, np.uint64)
    entries.sort()
    buckets = (entries >> np.uint64(32 + _SHIFT)).astype(np.uint32)
    starts = np.flatnonzero(np.diff(buckets, prepend=np.uint32(BUCKETS)))
    for start, part in zip(starts, np.split(entries, starts)[1:], strict=True):
        yield int(buckets[start]), _bucket(part)


class Postings:
    """The postings of a question's terms in all segments of a bot, whose chunks are numbered on and on."""

    def __init__(self, segments: Sequence[Segment], wanted: Iterable[int]) -> None:
        terms_ = np.array(sorted(wanted), np.uint32)
        starts = np.cumsum([0, *(segment.chunks for segment in segments)])
        self._parts = _parts(segments, starts)
        self._live = _live(int(starts[-1]), self._parts)
        # As they were read, by segment: a copy with numbers of the bot's would take longer than all the rest.
        self._found = [
            (term, slice(int(start), int(end)), numbers, weights)
            for (start, end), segment in zip(pairwise(starts), segments, strict=True)
            for term, numbers, weights in chain.from_iterable(_read(bucket, terms_) for bucket in segment.buckets)
        ]

    @property
    def chunks(self) -> int:
        """Count the chunks that may answer."""
        return int(self._parts["chunks"].sum())

    def having(self) -> Counter[int]:
        """Count, for each term, the chunks that may answer and have it."""
        counts: Counter[int] = Counter()
        for term, segment, numbers, _ in self._found:
            counts[term] += int(np.count_nonzero(self._live[segment].take(numbers)))
        return counts

    def best(self, rarities: Mapping[int, float], count: int) -> list[tuple[IngestionId, int]]:
        """Give the versions and ordinals of those chunks whose weights, each times its term's rarity, add up to most."""
        scores = np.zeros(len(self._live), np.float32)
        for term, segment, numbers, weights in self._found:
            weighed = weights.astype(np.float32) * np.float32(rarities.get(term, 0.0))
            np.add.at(scores[segment], numbers.astype(np.intp), weighed)  # `+=` by small integers takes twice as long
        scores *= self._live
        best = np.flatnonzero(scores >= _to_beat(scores, count))
        return self._chunks(best[np.argsort(-scores[best], kind="stable")[:count]])

    def _chunks(self, numbers: NDArray[np.int64]) -> list[tuple[IngestionId, int]]:
        parts = self._parts[np.searchsorted(self._parts["first"], numbers, side="right") - 1]
        ordinals = (numbers - parts["first"]).tolist()
        return [
            (IngestionId(UUID(bytes=version)), at)
            for version, at in zip(parts["ingestion"].tolist(), ordinals, strict=True)
        ]


def _to_beat(scores: NDArray[np.float32], count: int) -> np.float32:
    """Give a score above 0 that `count` chunks reach, and few others: so many blocks have one that does.

    To order all scores takes ten times as long.
    """
    blocks = len(scores) // _BLOCK
    least = np.finfo(np.float32).tiny
    if blocks < count:
        return least
    highest = scores[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
    return np.float32(max(least, np.partition(highest, -count)[-count]))


def _packed(number: int, sent: bytes) -> Packed:
    found, weights = keywords.read(sent)
    halves = weights.astype(np.float16).view(np.uint16).astype(np.uint64)
    return found.astype(np.uint64) << np.uint64(32) | np.uint64(number << 16) | halves


def _bucket(entries: Packed) -> bytes:
    found = (entries >> np.uint64(32)).astype("<u4")
    starts = np.flatnonzero(np.diff(found, prepend=np.uint32(0)))  # no term is 0
    ends = np.append(starts[1:], len(entries)).astype("<u4")
    numbers = (entries >> np.uint64(16)).astype("<u2")  # the lowest bits of what is left
    weights = entries.astype("<u2")
    head = len(starts).to_bytes(4, "little")
    return b"".join((head, *(part.tobytes() for part in (found[starts], ends, numbers, weights))))


def _read(bucket: bytes, wanted: NDArray[np.uint32]) -> Iterator[tuple[int, NDArray[np.uint16], NDArray[np.float16]]]:
    """Give number and weight of each posting of the terms that are wanted."""
    count = int.from_bytes(bucket[:4], "little")
    held = np.frombuffer(bucket, "<u4", count, 4)
    ends = np.frombuffer(bucket, "<u4", count, 4 + 4 * count)
    numbers_at = 4 + 8 * count
    weights_at = numbers_at + 2 * int(ends[-1])
    at = np.searchsorted(held, wanted)
    within = at < count
    for place in at[within][held[at[within]] == wanted[within]].tolist():
        start = int(ends[place - 1]) if place else 0
        length = int(ends[place]) - start
        numbers = np.frombuffer(bucket, "<u2", length, numbers_at + 2 * start)
        yield int(held[place]), numbers, np.frombuffer(bucket, "<f2", length, weights_at + 2 * start)


def _parts(segments: Sequence[Segment], starts: NDArray[np.int64]) -> NDArray[np.void]:
    """Put the segments' parts one behind the other."""
    parts = [np.frombuffer(segment.parts, PART).astype(_NATIVE) for segment in segments]
    for start, each in zip(starts, parts, strict=False):
        each["first"] += start
    return np.concatenate(parts) if parts else np.empty(0, _NATIVE)


def _live(chunks: int, parts: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell of each chunk whether it may answer."""
    steps = np.zeros(chunks + 1, np.int8)
    steps[parts["first"]] += 1
    np.add.at(steps, parts["first"] + parts["chunks"], -1)
    return np.cumsum(steps[:-1], dtype=np.int8) > 0
