"""Embedding: batches go out two at a time and are stored as they come; a stored one is never paid for again."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.chunking import read_shard
from activities.flight import this_attempt
from activities.heartbeat import heartbeats
from adapters.postgres import chunks, flight, ingestions
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from domain import blobs, steps
from domain.chunks import PlannedChunk
from domain.documents import Stage
from domain.errors import EmbeddingModelChanged, IncompleteIngestion
from domain.ingestion import missing_batches, shard_range
from domain.ports import BlobStore, Embedder, Embeddings
from domain.steps import Embedded, EmbedShard

log = structlog.get_logger(__name__)

IN_FLIGHT = 2

# A restart of the database is waited for: the other way is to pay for the batch again.
_PATIENCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is left of a shard, under the plan that was fixed."""

    digest: bytes
    ordinals: range
    batches: list[range]


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
        if work.batches:
            async with heartbeats():
                await self._embed_missing(shard, work)
        async with transaction(self._engine) as connection:
            await flight.record(connection, shard.ref, this_attempt(shard.shard), now=self._now())
        return Embedded(chunks=len(work.ordinals), model_calls=len(work.batches))

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
        return _Work(row.plan_digest, ordinals, missing_batches(ordinals, stored, batch_size=row.batch_size))

    async def _embed_missing(self, shard: EmbedShard, work: _Work) -> None:
        planned = await self._read(shard, work)
        batches, failures = iter(work.batches), list[BaseException]()

        async def lane() -> None:
            for batch in batches:
                if failures:  # what is under way is settled, nothing new is paid for
                    return
                try:
                    await self._embed_batch(shard, work, [planned[ordinal] for ordinal in batch])
                except Exception as error:  # noqa: BLE001  (raised below, when the other lane has settled)
                    failures.append(error)

        await asyncio.gather(*(lane() for _ in range(min(IN_FLIGHT, len(work.batches)))))
        if failures:
            raise failures[0]

    async def _read(self, shard: EmbedShard, work: _Work) -> dict[int, PlannedChunk]:
        key = blobs.shard_key(shard.ref.document_id, shard.ref.ingestion_id, shard.shard)
        with tempfile.TemporaryDirectory(prefix="chatsphere-embed-") as folder:
            path = await self._blobs.fetch(key, Path(folder))
            digest, planned = await asyncio.to_thread(read_shard, path)
        if digest != work.digest or [chunk.ordinal for chunk in planned] != list(work.ordinals):
            raise IncompleteIngestion("The stored plan is not the recorded one. Press retry.")
        return {chunk.ordinal: chunk for chunk in planned}

    async def _embed_batch(self, shard: EmbedShard, work: _Work, batch: list[PlannedChunk]) -> None:
        embeddings = await self._embedder.embed_documents([chunk.content for chunk in batch])
        try:
            await patiently(lambda: self._store(shard, work, batch, embeddings), within=_PATIENCE)
        except chunks.AlreadyStored:
            log.warning("batch_embedded_twice", first=batch[0].ordinal, count=len(batch))

    async def _store(self, shard: EmbedShard, work: _Work, batch: list[PlannedChunk], embeddings: Embeddings) -> None:
        async with transaction(self._engine) as connection:
            await chunks.store(connection, shard.ref, batch, embeddings.vectors)
            await ingestions.count_batch(
                connection, shard.ref,
                digest=work.digest, chunks=len(batch), tokens=embeddings.tokens, now=self._now(),
            )  # fmt: skip
