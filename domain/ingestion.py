"""Decisions of an ingestion: which chunks go into one shard, how many calls the plan takes, how tries count."""

from dataclasses import dataclass
from datetime import datetime

from domain.chunking import SHARD_CHUNKS
from domain.embedding import calls_for

_ATTEMPT_BITS = 10
_LAST_ATTEMPT = (1 << _ATTEMPT_BITS) - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided before the first model call; it does not change while chunks of it are stored."""

    digest: bytes  # SHA-256 of every planned chunk
    chunks: int
    batch_size: int
    embedding_model: str

    @property
    def shards(self) -> int:
        """How many embed steps the plan takes."""
        return -(-self.chunks // shard_size(self.batch_size))

    @property
    def model_calls(self) -> int:
        """How many calls it takes when none is lost and no text is known: no batch lies in two shards."""
        return calls_for(self.chunks, self.batch_size)


def shard_size(batch_size: int) -> int:
    """Give the chunks of a full shard: whole batches, so that a shard's end costs no short call."""
    return max(batch_size, SHARD_CHUNKS - SHARD_CHUNKS % batch_size)


def shard_range(shard: int, *, chunks: int, batch_size: int) -> range:
    """Give the ordinals of a shard."""
    size = shard_size(batch_size)
    return range(shard * size, min((shard + 1) * size, chunks))


def attempt_sequence(scheduled: datetime, attempt: int) -> int:
    """Number an attempt so that a later one is greater: microseconds of its step's start, then its own number.

    The flight record counts by it: what is recorded twice counts once, what died unrecorded counts with its successor.
    """
    microseconds = int(scheduled.timestamp() * 1_000_000)
    return (microseconds << _ATTEMPT_BITS) | min(attempt, _LAST_ATTEMPT)


def attempts_after(known: int, last: int, sequence: int) -> int:
    """Count attempts: `known` so far, the last of them numbered `last`; now `sequence` is reported."""
    if sequence <= last:
        return known
    number = sequence & _LAST_ATTEMPT
    same_step = sequence >> _ATTEMPT_BITS == last >> _ATTEMPT_BITS
    return known + number - (last & _LAST_ATTEMPT if same_step else 0)
