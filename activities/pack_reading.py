"""Packs are read: many small documents become one plan; one that cannot be read goes on alone."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client

from activities.chunking import Sizes
from activities.flight import this_attempt
from activities.heartbeat import heartbeats
from activities.imports import start_alone
from adapters.postgres import pack_chunks, pack_flight, packs
from adapters.postgres.engine import transaction
from adapters.postgres.pack_chunks import PlannedDocument
from adapters.postgres.packs import Packed
from domain import blobs, steps
from domain.chunking import split
from domain.chunks import Page, PlannedChunk
from domain.errors import NotFound
from domain.ids import IngestionId
from domain.imports import PACKED_CHUNKS
from domain.ingestion import Plan
from domain.packs import PackedPlan
from domain.ports import BlobStore, Embedder, ExtractedText, ExtractionJob, ExtractionLimits, GroupExtractor
from domain.steps import PackPlanned, PackRef

log = structlog.get_logger(__name__)

READERS = 2  # groups of a pack that are read at once
# A process of its own costs several times what reading a small document does; this many share one.
GROUP = 16

# A restart of the database is waited for: the other way is to pay for the batch again.
_PATIENCE = timedelta(minutes=2)

Call = list[tuple[IngestionId, PlannedChunk]]


class PackReading:
    """Reads and splits the documents of a pack."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        extractor: GroupExtractor,
        embedder: Embedder,
        temporal: Client,
        limits: ExtractionLimits,
        sizes: Sizes,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._extractor = extractor
        self._embedder = embedder
        self._temporal = temporal
        self._limits = limits
        self._sizes = sizes
        self._now = now

    @activity.defn(name=steps.EXTRACT_PACK.name)
    async def extract_pack(self, pack: PackRef) -> PackPlanned:
        """Store one plan for the pack. A document that cannot be read, or is too long, goes on alone."""
        async with transaction(self._engine) as connection:
            found = await packs.documents_of(connection, pack)
        with tempfile.TemporaryDirectory(prefix="chatsphere-pack-", ignore_cleanup_errors=True) as folder:
            async with heartbeats():
                plans = await self._read_all(found, Path(folder))
                name = await self._keep(pack, plans, Path(folder))
        alone = {each.ref.ingestion_id for each in found} - {plan.ingestion_id for plan in plans}
        async with transaction(self._engine) as connection:
            await pack_chunks.planned(connection, pack, self._planned(found, plans), now=self._now())
            await pack_flight.record(connection, [p.ingestion_id for p in plans], this_attempt(), now=self._now())
            released = await packs.release(connection, pack.ref, alone, now=self._now())
        await start_alone(self._temporal, released)
        total = sum(len(plan.lines) for plan in plans)
        return PackPlanned(plan=name, documents=len(plans), chunks=total, released=len(released))

    async def _read_all(self, found: Sequence[Packed], folder: Path) -> list[PackedPlan]:
        """Read groups side by side; what is left out goes on alone."""
        plans: dict[IngestionId, PackedPlan] = {}
        groups = iter([found[at : at + GROUP] for at in range(0, len(found), GROUP)])

        async def lane() -> None:
            for group in groups:
                async for plan in self._read(group, folder):
                    if 0 < len(plan.lines) <= PACKED_CHUNKS:
                        plans[plan.ingestion_id] = plan

        await asyncio.gather(*(lane() for _ in range(READERS)))
        return [plans[each.ref.ingestion_id] for each in found if each.ref.ingestion_id in plans]

    async def _read(self, group: Sequence[Packed], folder: Path) -> AsyncIterator[PackedPlan]:
        """Read what can be read. The document that a process died of is left out, and the rest tried in another."""
        jobs = [(each, await self._job(each, folder)) for each in group]
        left = [(each, job) for each, job in jobs if job is not None]
        while left:
            results = await self._extractor.extract_together([job for _, job in left])
            done = results.index(None) if None in results else len(results)
            for (each, job), result in zip(left[:done], results[:done], strict=True):
                if isinstance(result, ExtractedText):
                    lines = await asyncio.to_thread(_split, job.target, each, self._sizes)
                    yield PackedPlan(each.ref.ingestion_id, result.pages, result.characters, lines, result.encoding)
                elif result is not None:  # a run of its own tries it again and, where that fails, asks a person
                    log.info("released_from_pack", document_id=str(each.ref.document_id), code=result.code)
            left = left[done + 1 :]

    async def _job(self, each: Packed, folder: Path) -> ExtractionJob | None:
        """None where the bytes are gone: the document was deleted since the pack was looked up."""
        ref = each.ref
        try:
            source = await self._blobs.fetch(blobs.source_key(ref.document_id, ref.ingestion_id), folder)
        except NotFound as error:
            log.info("released_from_pack", document_id=str(ref.document_id), code=error.code)
            return None
        target = folder / f"{ref.ingestion_id}.jsonl"
        return ExtractionJob(
            source=source, target=target, format=each.format, limits=self._limits, encoding=each.encoding
        )

    async def _keep(self, pack: PackRef, plans: Sequence[PackedPlan], folder: Path) -> str:
        """Store the plan under its digest, so that a late attempt puts none in its place."""
        path = folder / "plan"
        name = await asyncio.to_thread(_write, path, plans)
        await self._blobs.put_file(blobs.pack_key(pack.ref.import_id, pack.pack, name), path)
        return name

    def _planned(self, found: Sequence[Packed], plans: Sequence[PackedPlan]) -> list[PlannedDocument]:
        refs = {each.ref.ingestion_id: each.ref for each in found}
        size, model = self._embedder.batch_size, self._embedder.model
        return [
            PlannedDocument(refs[plan.ingestion_id], Plan(plan.digest, len(plan.lines), size, model), plan.pages)
            for plan in plans
        ]


def _split(target: Path, each: Packed, sizes: Sizes) -> list[str]:
    with target.open("rb") as file:
        pages = (Page.from_line(line) for line in file)
        planned = split(pages, format=each.format, size=sizes.characters, overlap=sizes.overlap)
        return [chunk.to_line() for chunk in planned]


def _write(path: Path, plans: Sequence[PackedPlan]) -> str:
    whole = hashlib.sha256()
    with path.open("wb") as file:
        for plan in plans:
            line = plan.to_line().encode("utf-8", "surrogatepass") + b"\n"
            whole.update(line)
            file.write(line)
    return whole.hexdigest()
