"""Postings of a segment's chunks, by term: written once, read for the terms of a question, added up by NumPy.

Terms are spread over buckets by their highest bits. A rare term is listed: the numbers of its chunks in the segment,
and its weight in each in half precision. A common one, which a quarter of the chunks have, has a row: a byte for each
chunk of the segment, which takes less room and is added up several times as fast. Both are exact enough to choose
candidates, which are ranked by what `chunk_keywords` has.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from adapters.postgres import keywords
from domain import terms
from domain.ids import IngestionId

BUCKETS = 1 << 13
_SHIFT = (terms.SPACE // BUCKETS).bit_length() - 1

_BLOCK = 64
_HEAD, _SCALE = Struct("<II"), Struct("<f")
_LISTED_BYTES = 4  # of a posting that is listed: number and weight
_STEPS = 255  # of a weight in a row

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
    return sorted(_by_bucket(wanted))


def pack(chunks: Iterable[tuple[int, bytes]]) -> Packed:
    """Pack chunks, given by their numbers in the segment and their keywords as Postgres sends these."""
    packed = [_packed(number, sent) for number, sent in chunks]
    return np.concatenate(packed) if packed else np.empty(0, np.uint64)


def encode(packed: Sequence[Packed], chunks: int) -> Iterator[tuple[int, bytes]]:
    """Write the buckets of a segment of so many chunks."""
    entries = np.concatenate(packed) if packed else np.empty(0, np.uint64)
    entries.sort()
    buckets = (entries >> np.uint64(32 + _SHIFT)).astype(np.uint32)
    starts = np.flatnonzero(np.diff(buckets, prepend=np.uint32(BUCKETS)))
    for start, part in zip(starts, np.split(entries, starts)[1:], strict=True):
        yield int(buckets[start]), _bucket(part, chunks)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The postings of a term in a segment, one by one."""

    numbers: NDArray[np.uint16]
    weights: NDArray[np.float16]

    def having(self, live: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero(live.take(self.numbers)))

    def add_to(self, scores: NDArray[np.float32], rarity: float) -> None:
        weighed = self.weights.astype(np.float32) * np.float32(rarity)
        np.add.at(scores, self.numbers.astype(np.intp), weighed)  # `+=` by small integers takes twice as long


@dataclass(frozen=True, slots=True)
class _Row:
    """The weights of a term in all chunks of a segment, each times `scale`; 0 where a chunk does not have it."""

    weights: NDArray[np.uint8]
    scale: float

    def having(self, live: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero((self.weights != 0) & live))

    def add_to(self, scores: NDArray[np.float32], rarity: float) -> None:
        scores += np.multiply(self.weights, np.float32(self.scale * rarity), dtype=np.float32)


class Postings:
    """The postings of a question's terms in all segments of a bot, whose chunks are numbered on and on."""

    def __init__(self, segments: Sequence[Segment], wanted: Iterable[int]) -> None:
        asked = _by_bucket(wanted)
        starts = np.cumsum([0, *(segment.chunks for segment in segments)])
        self._parts = _parts(segments, starts)
        self._live = _live(int(starts[-1]), self._parts)
        # As they were read, by segment: a copy with numbers of the bot's would take longer than all the rest.
        self._found = [
            (term, slice(int(start), int(end)), held)
            for (start, end), segment in zip(pairwise(starts), segments, strict=True)
            for bucket in segment.buckets
            for term, held in _read(bucket, asked, segment.chunks)
        ]

    @property
    def chunks(self) -> int:
        """Count the chunks that may answer."""
        return int(self._parts["chunks"].sum())

    def having(self) -> Counter[int]:
        """Count, for each term, the chunks that may answer and have it."""
        counts: Counter[int] = Counter()
        for term, segment, held in self._found:
            counts[term] += held.having(self._live[segment])
        return counts

    def best(self, rarities: Mapping[int, float], count: int) -> list[tuple[IngestionId, int]]:
        """Give the versions and ordinals of those chunks whose weights, each times its term's rarity, add up to most."""
        scores = np.zeros(len(self._live), np.float32)
        for term, segment, held in self._found:
            if rarity := rarities.get(term):
                held.add_to(scores[segment], rarity)
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


def _by_bucket(wanted: Iterable[int]) -> dict[int, list[int]]:
    buckets: dict[int, list[int]] = {}
    for term in wanted:
        buckets.setdefault(term >> _SHIFT, []).append(term)
    return buckets


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


def _bucket(entries: Packed, chunks: int) -> bytes:
    """Write the terms that are listed and the terms that have rows: how many, which, and what the chunks have of them."""
    found = (entries >> np.uint64(32)).astype("<u4")
    starts = np.flatnonzero(np.diff(found, prepend=np.uint32(0)))  # no term is 0
    counts = np.diff(np.append(starts, len(entries)))
    common = counts * _LISTED_BYTES > chunks
    listed = entries[~np.repeat(common, counts)]
    rows = [
        _row(entries[start : start + count], chunks)
        for start, count in zip(starts[common], counts[common], strict=True)
    ]
    parts = (
        found[starts[~common]],
        np.cumsum(counts[~common]).astype("<u4"),
        found[starts[common]],
        np.array([row.scale for row in rows], "<f4"),
        _numbers(listed).astype("<u2"),
        _weights(listed).astype("<f2"),
        *(row.weights for row in rows),
    )
    return _HEAD.pack(len(starts) - len(rows), len(rows)) + b"".join(part.tobytes() for part in parts)


def _row(entries: Packed, chunks: int) -> _Row:
    """Give the weights of one term in steps of a 255th of the greatest; none of them becomes 0."""
    weights = _weights(entries).astype(np.float32)
    scale = np.float32(weights.max() / _STEPS)
    row = np.zeros(chunks, np.uint8)
    row[_numbers(entries)] = np.maximum(1, np.rint(weights / scale)).astype(np.uint8)
    return _Row(row, float(scale))


def _numbers(entries: Packed) -> NDArray[np.uint16]:
    return (entries >> np.uint64(16)).astype(np.uint16)  # the lowest bits of what is left


def _weights(entries: Packed) -> NDArray[np.float16]:
    return entries.astype(np.uint16).view(np.float16)


def _read(bucket: bytes, wanted: Mapping[int, Sequence[int]], chunks: int) -> Iterator[tuple[int, _Listed | _Row]]:
    """Give what the chunks have of each term that is wanted, by bucket, in a segment of so many chunks."""
    listed, rows = _HEAD.unpack_from(bucket)
    head = np.frombuffer(bucket, "<u4", 2 * listed + rows, _HEAD.size).tolist()
    rare, ends, common = head[:listed], head[listed : 2 * listed], head[2 * listed :]
    scales_at = _HEAD.size + 4 * len(head)
    numbers_at = scales_at + 4 * rows
    weights_at = numbers_at + 2 * (ends[-1] if listed else 0)
    rows_at = 2 * weights_at - numbers_at
    for term in wanted[(rare or common)[0] >> _SHIFT]:
        if (place := _place(rare, term)) is not None:
            start = ends[place - 1] if place else 0
            count = ends[place] - start
            numbers = np.frombuffer(bucket, "<u2", count, numbers_at + 2 * start)
            yield term, _Listed(numbers, np.frombuffer(bucket, "<f2", count, weights_at + 2 * start))
        elif (place := _place(common, term)) is not None:
            (scale,) = _SCALE.unpack_from(bucket, scales_at + 4 * place)
            yield term, _Row(np.frombuffer(bucket, np.uint8, chunks, rows_at + chunks * place), scale)


def _place(held: Sequence[int], term: int) -> int | None:
    """Find a term in a list in order."""
    place = bisect_left(held, term)
    return place if place < len(held) and held[place] == term else None


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
