"""Indexes of large bots: built beside all writes, used when they are whole, dropped when a bot is small again."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.heartbeat import heartbeats
from adapters.postgres import indexes, keyword_segments, postings, vector_indexes
from adapters.postgres.engine import transaction
from domain import steps
from domain.ids import BotId, IngestionId
from domain.indexes import IndexState, Version, segments_of
from domain.steps import CloseIndex, Done, IndexPlanned, IndexRef, KeywordsIndexed

log = structlog.get_logger(__name__)

_READ_CHUNKS = 2000  # keywords read by one statement: some 4 MB


class Indexes:
    """The steps of `IndexBot`. Each may run twice, or beside itself."""

    def __init__(
        self, engine: AsyncEngine, now: Callable[[], datetime], *, threshold: int, memory_bytes: int = 256 << 20
    ) -> None:
        """`threshold` is the number of chunks from which on a bot has an index, `memory_bytes` what a build may take."""
        self._engine = engine
        self._now = now
        self._threshold = threshold
        self._memory_bytes = memory_bytes

    @activity.defn(name=steps.PLAN_INDEX.name)
    async def plan_index(self, ref: IndexRef) -> IndexPlanned:
        """Decide by the size of the bot, and by what is there."""
        async with transaction(self._engine) as connection:
            return await indexes.plan(connection, ref, threshold=self._threshold, now=self._now())

    @activity.defn(name=steps.BUILD_VECTOR_INDEX.name)
    async def build_vector_index(self, ref: IndexRef) -> Done:
        """Build the vector index. An attempt that finds it whole builds nothing."""
        async with heartbeats():
            started = self._now()
            await vector_indexes.build(self._engine, ref.bot_id, memory_bytes=self._memory_bytes)
        log.info("vector_index_built", bot_id=str(ref.bot_id), seconds=(self._now() - started).total_seconds())
        return Done()

    @activity.defn(name=steps.INDEX_KEYWORDS.name)
    async def index_keywords(self, ref: IndexRef) -> KeywordsIndexed:
        """Write segment after segment, and drop those that they replace. An attempt goes on where the last one ended."""
        async with heartbeats():
            async with transaction(self._engine) as connection:
                versions = await keyword_segments.to_write(connection, ref.bot_id)
            written = [segment for segment in segments_of(versions) if await self._write(ref.bot_id, segment)]
            async with transaction(self._engine) as connection:
                await keyword_segments.drop_unused(connection, ref.bot_id)
        chunks = sum(version.chunks for segment in written for version in segment)
        log.info("keywords_indexed", bot_id=str(ref.bot_id), segments=len(written), chunks=chunks)
        return KeywordsIndexed(segments=len(written), chunks=chunks)

    @activity.defn(name=steps.CLOSE_INDEX.name)
    async def close_index(self, end: CloseIndex) -> Done:
        """Let searches use the index; or clear away what was not finished, and keep what was in use before."""
        async with heartbeats():
            bot = end.ref.bot_id
            async with transaction(self._engine) as connection:
                building = await indexes.state_of(connection, bot) is IndexState.BUILDING
            if building and end.state is not IndexState.VALID:
                await self._clear(bot)
            async with transaction(self._engine) as connection:
                await indexes.close(connection, end, now=self._now())
        return Done()

    @activity.defn(name=steps.DROP_INDEX.name)
    async def drop_index(self, ref: IndexRef) -> Done:
        """Drop the index; the row goes last, so that a crash before is found by it."""
        async with heartbeats():
            bot = ref.bot_id
            async with transaction(self._engine) as connection:
                dropping = await indexes.state_of(connection, bot) is IndexState.DROPPING
            if dropping:
                await self._drop_segments(bot)
                await vector_indexes.drop_with_row(self._engine, bot)
        return Done()

    async def _clear(self, bot: BotId) -> None:
        await vector_indexes.drop(self._engine, bot)
        await self._drop_segments(bot)

    async def _drop_segments(self, bot: BotId) -> None:
        more = True
        while more:
            async with transaction(self._engine) as connection:
                more = await keyword_segments.drop_some(connection, bot)

    async def _write(self, bot: BotId, versions: Sequence[Version]) -> bool:
        """Write one segment; what changed meanwhile is left to the next run."""
        packed = []
        first = 0
        for batch in _batches(versions):
            numbers, first = _numbers(batch, first)
            async with self._engine.connect() as connection:
                chunks = await keyword_segments.keywords_of(connection, batch)
            packed.append(await asyncio.to_thread(_packed, numbers, chunks))
        buckets = await asyncio.to_thread(lambda: list(postings.encode(packed, first)))
        async with transaction(self._engine) as connection:
            return await keyword_segments.replace(connection, bot, versions, buckets)


def _packed(
    numbers: dict[IngestionId, tuple[int, int]], chunks: Sequence[tuple[IngestionId, int, bytes]]
) -> postings.Packed:
    """Pack the chunks that the versions are known to have."""
    return postings.pack(
        (numbers[version][0] + ordinal, sent) for version, ordinal, sent in chunks if ordinal < numbers[version][1]
    )


def _numbers(versions: Sequence[Version], first: int) -> tuple[dict[IngestionId, tuple[int, int]], int]:
    """Number the first chunk of each version, and count its chunks; answers the number that is next."""
    numbers = {}
    for version in versions:
        numbers[version.id] = first, version.chunks
        first += version.chunks
    return numbers, first


def _batches(versions: Sequence[Version]) -> Iterator[list[Version]]:
    batch: list[Version] = []
    for version in versions:
        batch.append(version)
        if sum(each.chunks for each in batch) >= _READ_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch
