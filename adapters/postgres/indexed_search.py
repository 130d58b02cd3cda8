"""What a search of a large bot takes from its index, and what it scans beside it."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import keywords
from adapters.postgres.postings import Postings, Segment, buckets_of
from adapters.postgres.search_statements import EFFORT, HAVING, NEAREST, POSTINGS
from domain import terms
from domain.ids import IngestionId
from domain.indexes import SCANNED_CHUNKS, effort, is_faster

# Weights of postings are rounded: so many more are taken for the exact ones to choose from.
_SPARE = 14

Named = Sequence[tuple[IngestionId, int]]
"""Chunks, by version and ordinal."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which arms are looked up; none for a bot without an index."""

    chunks: int = 0  # of the bot
    comparable: int = 0  # that may answer, with a vector of the question's model
    vectors: bool = False
    words: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """What the question's terms weigh, and where they are looked for.

    `ideal` is what a chunk would score that has each word of the question once, also those that no chunk has.
    """

    rarities: Mapping[int, float] = field(default_factory=dict)
    ideal: float = 0.0
    named: Named = ()
    scanned: Sequence[IngestionId] | None = None

    @property
    def are_named(self) -> bool:
        """Tell whether an index named the chunks that are best, but for the `scanned` versions."""
        return self.scanned is not None


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of the words that were asked: postings, and how many chunks outside of these have each term."""

    asked: Sequence[tuple[int, ...]]
    wanted: Sequence[int]
    having: Counter[int]
    chunks: int
    segments: Sequence[Segment] = ()
    scanned: Sequence[IngestionId] | None = None

    def weigh(self, count: int) -> Words:
        """Weigh the terms that chunks have, by how few have them; and name the `count` best of the postings."""
        postings = Postings(self.segments, self.wanted)
        having, chunks = self.having + postings.having(), self.chunks + postings.chunks
        rarities = {term: terms.rarity(number, chunks) for term, number in having.items()}
        missing = sum(not any(term in rarities for term in word) for word in self.asked)
        ideal = sum(rarities.values()) + missing * terms.rarity(0, chunks)
        return Words(rarities, ideal, postings.best(rarities, count), self.scanned)


def reach(bot: Row[Any] | None, *, depth: int) -> Reach:
    """Decide by how many chunks may answer, as `BOT` tells; of few documents of a large bot all are scanned."""
    if bot is None or bot.indexed is None:
        return Reach()
    return Reach(
        chunks=bot.indexed,
        comparable=int(bot.comparable),
        vectors=is_faster(int(bot.comparable), bot.indexed, depth=depth),
        words=int(bot.readable) > SCANNED_CHUNKS,
    )


async def look_up(
    connection: AsyncConnection, values: Mapping[str, Any], asked: Sequence[tuple[int, ...]], reach: Reach
) -> tuple[Words, Named | None]:
    """Weigh the question's terms and name the best chunks of each arm, as far as the bot's indexes do.

    `asked` are the terms that stand for each word. The nearest are None where no index named enough of them.
    """
    if reach.vectors:
        await _make_effort(connection, reach)
    read = await _read(connection, values, asked, reach) if asked else None
    # Postgres looks for the nearest while postings are added up here: each takes a few milliseconds.
    searching = asyncio.create_task(_nearest(connection, values, reach))
    try:
        await asyncio.sleep(0)  # by then it is sent
        words = Words() if read is None else read.weigh(values["depth"] + _SPARE)
    finally:
        near = await searching
    return words, near


async def _make_effort(connection: AsyncConnection, reach: Reach) -> None:
    """Set how far the vector index looks, until the transaction ends; where each statement is one, that is at once."""
    options = connection.sync_connection.get_execution_options() if connection.sync_connection else {}
    if options.get("isolation_level") == "AUTOCOMMIT":
        raise RuntimeError("A search needs a transaction, not a connection of `reading`.")
    await connection.execute(EFFORT, {"effort": str(effort(reach.comparable, reach.chunks))})


async def _nearest(connection: AsyncConnection, values: Mapping[str, Any], reach: Reach) -> Named | None:
    """Name the chunks whose vectors are nearest; None where the index came upon too few, or is not to be asked."""
    if not reach.vectors:
        return None
    rows = (await connection.execute(NEAREST, values)).all()
    enough = len(rows) >= min(values["depth"], reach.comparable)
    return [(row.ingestion_id, row.ordinal) for row in rows] if enough else None


async def _read(
    connection: AsyncConnection, scope: Mapping[str, Any], asked: Sequence[tuple[int, ...]], reach: Reach
) -> _Read:
    """Read how many chunks have each term, or postings where the bot has them."""
    wanted = list(dict.fromkeys(chain.from_iterable(asked)))
    if not reach.words:
        return _Read(asked, wanted, *await _having(connection, scope, wanted, None))
    rows = (await connection.execute(POSTINGS, {**scope, "buckets": buckets_of(wanted)})).all()
    segments = [Segment(row.chunks, row.parts, row.buckets) for row in rows if row.parts is not None]
    scanned = [IngestionId(version) for row in rows for version in row.scanned or ()]
    having, chunks = await _having(connection, scope, wanted, scanned) if scanned else (Counter[int](), 0)
    return _Read(asked, wanted, having, chunks, segments, scanned)


async def _having(
    connection: AsyncConnection, scope: Mapping[str, Any], wanted: Sequence[int], scanned: Sequence[IngestionId] | None
) -> tuple[Counter[int], int]:
    """Count the chunks that have each term, and all chunks."""
    asked = {**scope, "masks": keywords.masks(wanted), "scanned": scanned}
    rows: Sequence[Any] = (await connection.execute(HAVING, asked)).all()
    having: Counter[int] = Counter()
    for row in rows:
        at = (row.part - 1) * keywords.MASK_TERMS
        for bit, term in enumerate(wanted[at : at + keywords.MASK_TERMS]):
            if row.bits >> bit & 1:
                having[term] += row.chunks
    return having, sum(row.chunks for row in rows if row.part == 1)
