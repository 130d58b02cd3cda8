"""Indexes of large bots: when one is wanted, and when a search is better off with it than without.

A bot under the threshold is searched by exact scans, which are faster there and miss nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import IngestionId

SEGMENT_CHUNKS = 1 << 14
"""Chunks whose postings are written together: some 2 million postings, 15 MB while they are sorted."""
LARGEST_SEGMENT = 1 << 16
"""The most that a segment can number. A document of more chunks is never in one; its keywords are scanned."""

SCANNED_CHUNKS = 2_500
"""Chunks whose keywords are scanned sooner than looked up."""

# Measured at 100,000 chunks (docs/decisions/0027-large-bots.md).
_TAIL_CHUNKS = 2_000  # that are scanned beside the segments: 3 ms
_DEAD_SHARE = 0.2  # of a segment's chunks that are nobody's any more
_EXACT_PER_HIT = 17  # chunks that an exact scan compares in the time in which the index finds one candidate
_LEAST_EFFORT = 200  # candidates that the index is asked to keep in view: recall@10 of .99
_EFFORT_PER_SHARE = 80  # over the share of the bot that may answer
_MOST_EFFORT = 1000  # pgvector's own limit


class IndexState(StrEnum):
    """How far a bot's index is."""

    BUILDING = "building"
    VALID = "valid"
    DROPPING = "dropping"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Version:
    """A version that answers, and its chunks."""

    id: IngestionId
    chunks: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the chunks that answer are in segments, and how many chunks the segments have altogether."""

    answering: int
    covered: int
    in_segments: int

    @property
    def is_worn(self) -> bool:
        """Tell whether enough changed for keywords to be indexed anew."""
        tail, dead = self.answering - self.covered, self.in_segments - self.covered
        return tail > min(_TAIL_CHUNKS, self.answering // 10) or dead > _DEAD_SHARE * self.in_segments


def is_wanted(chunks: int, *, threshold: int, present: bool) -> bool:
    """Tell whether a bot of so many chunks is to have an index. One that is there goes at half of the threshold."""
    return chunks >= (max(1, threshold // 2) if present else threshold)


def is_faster(selected: int, chunks: int, *, depth: int) -> bool:
    """Tell whether the vector index finds `depth` of the `selected` chunks sooner than a scan of them all.

    The index comes upon `chunks / selected` candidates for each that may answer.
    """
    return selected * selected > _EXACT_PER_HIT * depth * chunks


def effort(selected: int, chunks: int) -> int:
    """Say how many candidates the vector index is to keep in view (`hnsw.ef_search`)."""
    return min(_MOST_EFFORT, max(_LEAST_EFFORT, _EFFORT_PER_SHARE * chunks // max(1, selected)))


def segments_of(versions: Iterable[Version]) -> Iterator[list[Version]]:
    """Cut versions into segments, in their order; what is too large for one is left out."""
    segment: list[Version] = []
    size = 0
    for version in versions:
        if not 0 < version.chunks <= LARGEST_SEGMENT:
            continue
        if segment and size + version.chunks > SEGMENT_CHUNKS:
            yield segment
            segment, size = [], 0
        segment.append(version)
        size += version.chunks
    if segment:
        yield segment
