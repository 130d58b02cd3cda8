"""Chunking: pages in, a plan in shards out. The text streams through; only its digest tells plans apart."""

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.flight import this_attempt
from adapters.postgres import flight, ingestions
from adapters.postgres.engine import transaction
from domain import blobs, steps
from domain.chunking import split
from domain.chunks import Page, PlannedChunk
from domain.documents import Format, IngestionRef, Stage
from domain.errors import NoText
from domain.ingestion import Plan, shard_size
from domain.ports import BlobStore, Embedder
from domain.steps import Chunked

_DIGEST = hashlib.sha256
_HEADER = _DIGEST().digest_size * 2 + 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long a chunk may be and how much of it the next one may repeat, in characters."""

    characters: int
    overlap: int


class Chunking:
    """Plans the chunks of a document."""

    def __init__(
        self, engine: AsyncEngine, blob_store: BlobStore, embedder: Embedder, sizes: Sizes, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._embedder = embedder
        self._sizes = sizes
        self._now = now

    @activity.defn(name=steps.CHUNK.name)
    async def chunk(self, ref: IngestionRef) -> Chunked:
        """Store the plan, and fix with it what one model call takes."""
        async with transaction(self._engine) as connection:
            run_id = activity.info().workflow_run_id or ""
            row = await ingestions.enter(connection, ref, Stage.CHUNKING, run_id=run_id, now=self._now())
        with tempfile.TemporaryDirectory(prefix="chatsphere-chunk-", ignore_cleanup_errors=True) as name:
            plan = await self._plan(ref, ingestions.format_of(row), Path(name))
        async with transaction(self._engine) as connection:
            await ingestions.planned(connection, ref, plan, now=self._now())
            await flight.record(connection, ref, this_attempt(), now=self._now())
        return Chunked(chunks=plan.chunks, shards=plan.shards)

    async def _plan(self, ref: IngestionRef, source_format: Format, folder: Path) -> Plan:
        pages = await self._blobs.fetch(blobs.pages_key(ref.document_id, ref.ingestion_id), folder)
        batch_size, stop = self._embedder.batch_size, threading.Event()
        writer = PlanWriter(folder, shard_size(batch_size), stop)
        try:
            await asyncio.to_thread(writer.write, _chunks(pages, source_format, self._sizes))
        finally:
            stop.set()  # a thread cannot be cancelled; it looks here between two chunks
        if writer.count == 0:
            raise NoText(
                "The document holds no text that can be extracted. If it is a scan, run text recognition (OCR) "
                "on it and upload the result."
            )
        for shard, path in enumerate(writer.paths):
            await self._blobs.put_file(blobs.shard_key(ref.document_id, ref.ingestion_id, shard), path)
        return Plan(writer.digest, writer.count, batch_size, self._embedder.model)


class PlanWriter:
    """Writes shards as files. Each begins with the digest of the whole plan, filled in at the end."""

    def __init__(self, folder: Path, size: int, stop: threading.Event) -> None:
        self._folder = folder
        self._size = size
        self._stop = stop
        self.paths: list[Path] = []
        self.count = 0
        self.digest = b""

    def write(self, planned: Iterator[PlannedChunk]) -> None:
        """Write all chunks, or stop on request."""
        whole = _DIGEST()
        while (first := next(planned, None)) is not None and not self._stop.is_set():
            path = self._folder / f"shard-{len(self.paths):06d}.jsonl"
            with path.open("wb") as file:
                file.write(b" " * (_HEADER - 1) + b"\n")
                for chunk in islice(chain((first,), planned), self._size):
                    line = chunk.to_line().encode("utf-8", "surrogatepass") + b"\n"
                    whole.update(line)
                    file.write(line)
                    self.count += 1
                    if self._stop.is_set():
                        return
            self.paths.append(path)
        self.digest = whole.digest()
        for path in self.paths:
            with path.open("r+b") as file:
                file.write(self.digest.hex().encode())


def read_shard(path: Path) -> tuple[bytes, list[PlannedChunk]]:
    """Read what `PlanWriter` wrote: the plan's digest and the shard's chunks."""
    digest = b""
    with path.open("rb") as file:
        with suppress(ValueError):  # not a digest: not the plan that is looked for
            digest = bytes.fromhex(file.readline().decode("ascii"))
        return digest, [PlannedChunk.from_line(line) for line in file]


def _chunks(pages: Path, source_format: Format, sizes: Sizes) -> Iterator[PlannedChunk]:
    with pages.open("rb") as file:
        lines = (Page.from_line(line) for line in file)
        yield from split(lines, format=source_format, size=sizes.characters, overlap=sizes.overlap)
