"""Packs are embedded: calls are filled across documents, and a document is published as soon as it is complete."""

import asyncio
import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client

from activities.bisection import embed_texts
from activities.embedding import in_lanes
from activities.flight import this_attempt
from activities.heartbeat import heartbeats
from activities.imports import start_alone
from adapters.postgres import chunks, pack_chunks, pack_flight, packs
from adapters.postgres.engine import transaction
from adapters.postgres.pack_chunks import Paid, Part, Publishable
from adapters.postgres.packs import Packed
from adapters.postgres.patience import patiently
from domain import blobs, steps
from domain.chunks import PlannedChunk
from domain.documents import IngestionRef
from domain.embedding import Refused, Text, batches_of, distinct_texts
from domain.errors import IncompleteIngestion
from domain.ids import IngestionId
from domain.packs import PackedPlan
from domain.ports import BlobStore, Embedder, Vectors
from domain.steps import EmbedPack, PackPublished, PackRef

log = structlog.get_logger(__name__)

# A restart of the database is waited for: the other way is to pay for the batch again.
_PATIENCE = timedelta(minutes=2)

Held = tuple[IngestionId, PlannedChunk]


@dataclass(frozen=True, slots=True)
class _Work:
    """What a pack's plan says of the documents that are still in it, and which of them are ready by now."""

    pack: PackRef
    rows: dict[IngestionId, Packed]
    plans: dict[IngestionId, PackedPlan]
    missing: list[Held]
    published: set[IngestionId] = field(default_factory=set)

    def documents(self, ids: Iterable[IngestionId]) -> list[Publishable]:
        """Give what `pack_chunks.publish` wants to know of these."""
        plans = ((self.rows[id_].ref, self.plans[id_]) for id_ in ids if id_ in self.plans)
        return [Publishable(ref, plan.pages, plan.characters, plan.encoding) for ref, plan in plans]


@dataclass(frozen=True, slots=True)
class _Found:
    """Chunks with what the model said, to be stored together: paid for with one call, reused, or refused."""

    rows: Sequence[tuple[Held, Vectors | Refused]]
    paid: Paid


class PackEmbedding:
    """Embeds and publishes the documents of a pack."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        embedder: Embedder,
        temporal: Client,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._embedder = embedder
        self._temporal = temporal
        self._now = now

    @activity.defn(name=steps.EMBED_PACK.name)
    async def embed_pack(self, given: EmbedPack) -> PackPublished:
        """Embed what is not stored yet; publish what is complete, and let go on alone what cannot be."""
        pack = PackRef(ref=given.ref, pack=given.pack)
        async with heartbeats():
            work = await self._open(pack, given.plan)
            calls = await self._embed_missing(work) if work.missing else 0
            released = await self._finish(work)
            await start_alone(self._temporal, released)
            await self._blobs.delete_prefix(blobs.pack_prefix(pack.ref.import_id, pack.pack))
        return PackPublished(documents=len(work.published), model_calls=calls, released=len(released))

    async def _open(self, pack: PackRef, name: str) -> _Work:
        async with transaction(self._engine) as connection:
            found = await packs.documents_of(connection, pack)
            stored = await pack_chunks.stored_ordinals(connection, [each.ref.ingestion_id for each in found])
        rows = {each.ref.ingestion_id: each for each in found if each.embedding_model == self._embedder.model}
        plans = await self._plans(pack, name) if rows else {}
        missing = [
            (id_, chunk)
            for id_, plan in plans.items()
            if id_ in rows and plan.digest == rows[id_].plan_digest
            for chunk in map(PlannedChunk.from_line, plan.lines)
            if (id_, chunk.ordinal) not in stored
        ]
        return _Work(pack, rows, plans, missing)

    async def _plans(self, pack: PackRef, name: str) -> dict[IngestionId, PackedPlan]:
        key = blobs.pack_key(pack.ref.import_id, pack.pack, name)
        with tempfile.TemporaryDirectory(prefix="chatsphere-embed-") as folder:
            path = await self._blobs.fetch(key, Path(folder))
            return await asyncio.to_thread(_read, path, name)

    async def _embed_missing(self, work: _Work) -> int:
        """Store what is known, then embed the rest; answers the calls that it made."""
        texts = distinct_texts((held[1].content, held) for held in work.missing)
        async with transaction(self._engine) as connection:
            known = await chunks.known_vectors(
                connection, work.pack.ref.owner_id, self._embedder.model, [text.digest for text in texts]
            )
        batches = list(batches_of([text for text in texts if text.digest not in known], self._embedder.batch_size))
        needed = Counter(id_ for batch in batches for id_ in {held[0] for text in batch for held in text.holders})
        async with transaction(self._engine) as connection:
            await pack_chunks.expect_calls(connection, work.pack, [row.ref for row in work.rows.values()], needed)
        reused = [(held, known[text.digest]) for text in texts if text.digest in known for held in text.holders]
        await self._store(work, _Found(reused, Paid(reused=True)))
        return sum(await in_lanes(batches, partial(self._embed, work)))

    async def _embed(self, work: _Work, batch: list[Text[Held]]) -> int:
        """Store each answer as it comes; answers the calls that were paid."""
        calls = 0
        async with aclosing(embed_texts(self._embedder, batch)) as answers:
            async for answered in answers:
                pairs = zip(answered.texts, answered.results, strict=True)
                rows = [(held, result) for text, result in pairs for held in text.holders]
                paid = Paid(answered.calls, answered.tokens, refused=not answered.calls)
                await self._store(work, _Found(rows, paid))
                calls += answered.calls
        return calls

    async def _store(self, work: _Work, found: _Found) -> None:
        """Store what of it is missing, whatever another attempt at the same pack stores meanwhile."""
        while found.rows:
            try:
                await patiently(partial(self._store_once, work, found), within=_PATIENCE)
            except chunks.AlreadyStored:
                log.warning("embedded_twice", count=len(found.rows))
            else:
                return
            async with transaction(self._engine) as connection:
                there = await pack_chunks.stored_ordinals(connection, {held[0] for held, _ in found.rows})
            left = [row for row in found.rows if (row[0][0], row[0][1].ordinal) not in there]
            found = replace(found, rows=left)

    async def _store_once(self, work: _Work, found: _Found) -> None:
        parts = _parts(work, found)
        documents = work.documents(part.ref.ingestion_id for part in parts)
        async with transaction(self._engine) as connection:
            await pack_chunks.store(connection, work.pack, parts, found.paid, now=self._now())
            published = await pack_chunks.publish(connection, work.pack, documents, now=self._now())
        work.published.update(published)

    async def _finish(self, work: _Work) -> list[IngestionRef]:
        """Publish what an earlier attempt stored in full; what cannot be published here, a run of its own finds out."""
        async with transaction(self._engine) as connection:
            ids = [id_ for id_ in work.rows if id_ not in work.published]
            work.published.update(
                await pack_chunks.publish(connection, work.pack, work.documents(ids), now=self._now())
            )
            left = [each.ref.ingestion_id for each in await packs.documents_of(connection, work.pack)]
            released = await packs.release(connection, work.pack.ref, left, now=self._now())
            await pack_flight.record(connection, list(work.rows), this_attempt(), now=self._now())
        return released


def _parts(work: _Work, found: _Found) -> list[Part]:
    """Sort what is to be stored by document."""
    sorted_: dict[IngestionId, list[tuple[PlannedChunk, Vectors | Refused]]] = defaultdict(list)
    for (id_, chunk), result in found.rows:
        sorted_[id_].append((chunk, result))
    return [
        Part(work.rows[id_].ref, work.rows[id_].plan_digest or b"", [row[0] for row in rows], [row[1] for row in rows])
        for id_, rows in sorted_.items()
    ]


def _read(path: Path, name: str) -> dict[IngestionId, PackedPlan]:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != name:
        raise IncompleteIngestion("The stored plan of the pack is not the recorded one.")
    plans = map(PackedPlan.from_line, content.splitlines())
    return {plan.ingestion_id: plan for plan in plans}
