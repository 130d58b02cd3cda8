"""Embedding: a text whose vector the owner has is not sent; batches go out three at a time and are stored as they come.

A stored one is never paid for again.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.bisection import embed_texts
from activities.chunking import read_shard
from activities.flight import this_attempt
from activities.heartbeat import heartbeats
from adapters.postgres import chunks, embedding, flight, ingestions
from adapters.postgres.embedding import Part, Stored
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from domain import blobs, steps
from domain.chunks import PlannedChunk
from domain.documents import IngestionRef, Stage
from domain.embedding import Refused, Text, batches_of, calls_for, distinct_texts
from domain.errors import EmbeddingModelChanged, IncompleteIngestion
from domain.ingestion import shard_range
from domain.ports import BlobStore, Embedder, Vectors
from domain.steps import Embedded, EmbedShard

log = structlog.get_logger(__name__)

# A document of 300 pages has two shards of five and four calls: with three at a time each takes two rounds of the
# provider's time, with two it takes three.
IN_FLIGHT = 3

# A restart of the database is waited for: the other way is to pay for the batch again.
_PATIENCE = timedelta(minutes=2)

_Batch = list[Text[PlannedChunk]]
_Row = tuple[PlannedChunk, Vectors | Refused]
BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class _Work:
    """What is left of a shard, under the plan that was fixed."""

    ref: IngestionRef
    part: Part
    ordinals: range
    stored: set[int]
    batch_size: int
    calls_expected: int


class Embedding:
    """Embeds and stores shards of planned chunks."""

    def __init__(
        self, engine: AsyncEngine, blob_store: BlobStore, embedder: Embedder, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._embedder = embedder
        self._now = now

    @activity.defn(name=steps.EMBED.name)
    async def embed(self, shard: EmbedShard) -> Embedded:
        """Embed what of the shard is not stored yet."""
        work = await self._open(shard)
        calls = 0
        if len(work.stored) < len(work.ordinals):
            async with heartbeats():
                calls = await self._embed_missing(work)
        async with transaction(self._engine) as connection:
            await flight.record(connection, shard.ref, this_attempt(shard.shard), now=self._now())
        return Embedded(chunks=len(work.ordinals), model_calls=calls)

    async def _open(self, shard: EmbedShard) -> _Work:
        ref = shard.ref
        async with transaction(self._engine) as connection:
            run_id = activity.info().workflow_run_id or ""
            row = await ingestions.enter(connection, ref, Stage.EMBEDDING, run_id=run_id, now=self._now())
            if row.plan_digest is None:
                raise IncompleteIngestion("The plan of the chunks is missing. Press retry.")
            if row.embedding_model != self._embedder.model:
                raise EmbeddingModelChanged(
                    f"The document was begun with the embedding model {row.embedding_model}; the worker now has "
                    f"{self._embedder.model}. Press retry to embed all of it with that."
                )
            ordinals = shard_range(shard.shard, chunks=row.planned_chunks, batch_size=row.batch_size)
            stored = await chunks.stored_ordinals(connection, ref.ingestion_id, ordinals)
            planned_calls = calls_for(len(ordinals), row.batch_size)
            part = Part(shard.shard, row.plan_digest, planned_calls, activity.info().started_time)
            expected = await embedding.open_part(connection, ref, part, activity_id=activity.info().activity_id)
        return _Work(ref, part, ordinals, stored, row.batch_size, expected)

    async def _embed_missing(self, work: _Work) -> int:
        """Store what is known, then embed the rest; answers the calls that it made."""
        planned = await self._read(work)
        texts = distinct_texts((chunk.content, chunk) for chunk in planned if chunk.ordinal not in work.stored)
        async with transaction(self._engine) as connection:
            known = await chunks.known_vectors(
                connection, work.ref.owner_id, self._embedder.model, [text.digest for text in texts]
            )
        rest = list(batches_of([text for text in texts if text.digest not in known], work.batch_size))
        unforeseen = len(rest) - work.calls_expected
        if known or unforeseen:
            reused = [(chunk, known[text.digest]) for text in texts if text.digest in known for chunk in text.holders]
            await self._store(work, reused, Stored(len(reused), reused=len(reused), unforeseen=unforeseen))
        return sum(await in_lanes(rest, lambda batch: self._embed_batch(work, batch)))

    async def _read(self, work: _Work) -> list[PlannedChunk]:
        key = blobs.shard_key(work.ref.document_id, work.ref.ingestion_id, work.part.shard)
        with tempfile.TemporaryDirectory(prefix="chatsphere-embed-") as folder:
            path = await self._blobs.fetch(key, Path(folder))
            digest, planned = await asyncio.to_thread(read_shard, path)
        if digest != work.part.digest or [chunk.ordinal for chunk in planned] != list(work.ordinals):
            raise IncompleteIngestion("The stored plan is not the recorded one. Press retry.")
        return planned

    async def _embed_batch(self, work: _Work, batch: _Batch) -> int:
        """Store each answer as it comes; answers the calls that were paid."""
        calls, foreseen = 0, 1
        async with aclosing(embed_texts(self._embedder, batch)) as answers:
            async for answered in answers:
                pairs = zip(answered.texts, answered.results, strict=True)
                rows = [(chunk, result) for text, result in pairs for chunk in text.holders]
                refused = 0 if answered.calls else len(rows)
                unforeseen = answered.calls - foreseen
                stored = Stored(len(rows), 0, refused, answered.calls, answered.tokens, unforeseen)
                await self._store(work, rows, stored)
                calls, foreseen = calls + answered.calls, 0
        return calls

    async def _store(self, work: _Work, rows: Sequence[_Row], stored: Stored) -> None:
        """Store what of it is missing, whatever another attempt at the same shard stores meanwhile."""
        while True:
            try:
                await patiently(partial(self._store_once, work, rows, stored), within=_PATIENCE)
            except chunks.AlreadyStored:
                log.warning("embedded_twice", first=rows[0][0].ordinal, count=len(rows))
            else:
                return
            async with transaction(self._engine) as connection:
                there = await chunks.stored_ordinals(connection, work.ref.ingestion_id, work.ordinals)
            rows = [row for row in rows if row[0].ordinal not in there]
            if not rows:
                return
            left = len(rows)
            stored = replace(stored, chunks=left, reused=min(stored.reused, left), refused=min(stored.refused, left))

    async def _store_once(self, work: _Work, rows: Sequence[_Row], stored: Stored) -> None:
        async with transaction(self._engine) as connection:
            await chunks.store(connection, work.ref, [row[0] for row in rows], [row[1] for row in rows])
            await embedding.count(connection, work.ref, work.part, stored, now=self._now())


async def in_lanes(batches: Sequence[BatchT], work: Callable[[BatchT], Awaitable[int]]) -> list[int]:
    """Work on batches, three at a time. After a failure what is under way is settled, and nothing else is paid for."""
    rest, results, failures = iter(batches), list[int](), list[BaseException]()

    async def lane() -> None:
        for batch in rest:
            if failures:
                return
            try:
                results.append(await work(batch))
            except Exception as error:  # noqa: BLE001  (raised below, when the other lane has settled)
                failures.append(error)

    await asyncio.gather(*(lane() for _ in range(min(IN_FLIGHT, len(batches)))))
    if failures:
        raise failures[0]
    return results
