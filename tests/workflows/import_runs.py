"""Running `ImportDocuments` against steps that are faked by name."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.interceptor import ErrorInterceptor
from adapters.temporal.client import data_converter
from domain import steps
from domain.steps import (
    Claimed,
    Done,
    EmbedPack,
    EndImport,
    ImportBegun,
    ImportRef,
    ImportSettled,
    PackPlanned,
    PackPublished,
    PackRef,
    Queue,
    Unpacked,
)
from workflows.imports import ImportDocuments
from workflows.sandbox import workflow_runner

Play = Exception | Callable[[], Awaitable[None]]


@dataclass
class FakeImport:
    """An import of so many packs. Each step succeeds, or first plays what a test put into its script."""

    packs: int = 1
    archive: bool = False
    alone: int = 0  # looks at documents with runs of their own until they are done
    script: dict[str, list[Play]] = field(default_factory=lambda: defaultdict(list))
    calls: list[str] = field(default_factory=list)
    ends: list[EndImport] = field(default_factory=list)
    claimed: set[int] = field(default_factory=set)
    open: bool = True
    cancelled: bool = False

    async def _do(self, name: str) -> None:
        self.calls.append(name)
        plays = self.script[name]
        if plays:
            play = plays.pop(0)
            if isinstance(play, Exception):
                raise play
            await play()

    @activity.defn(name=steps.BEGIN_IMPORT.name)
    async def begin(self, _: ImportRef) -> ImportBegun:
        await self._do("begin")
        last = max(self.claimed, default=0)
        return ImportBegun(closed=not self.open, cancelled=self.cancelled, unpack=self.archive, packs=last)

    @activity.defn(name=steps.UNPACK.name)
    async def unpack(self, _: ImportRef) -> Unpacked:
        await self._do("unpack")
        self.archive = False
        return Unpacked(items=64)

    @activity.defn(name=steps.RETRY_PARKED.name)
    async def retry_parked(self, _: ImportRef) -> Done:
        await self._do("retry_parked")
        return Done()

    @activity.defn(name=steps.CLAIM_PACK.name)
    async def claim(self, pack: PackRef) -> Claimed:
        await self._do(f"claim {pack.pack}")
        if self.cancelled:
            return Claimed(documents=0, left=0, closed=True)
        if pack.pack not in self.claimed and (len(self.claimed) == self.packs or self.archive):
            return Claimed(documents=0, left=0)
        self.claimed.add(pack.pack)
        return Claimed(documents=64, left=64 * (self.packs - len(self.claimed)))

    @activity.defn(name=steps.EXTRACT_PACK.name)
    async def extract(self, pack: PackRef) -> PackPlanned:
        await self._do(f"extract {pack.pack}")
        return PackPlanned(plan="digest", documents=64, chunks=700)

    @activity.defn(name=steps.EMBED_PACK.name)
    async def embed(self, pack: EmbedPack) -> PackPublished:
        await self._do(f"embed {pack.pack}")
        return PackPublished(documents=64, model_calls=7)

    @activity.defn(name=steps.RELEASE_PACK.name)
    async def release(self, pack: PackRef) -> Done:
        await self._do(f"release {pack.pack}")
        return Done()

    @activity.defn(name=steps.SETTLE_IMPORT.name)
    async def settle(self, _: ImportRef) -> ImportSettled:
        await self._do("settle")
        packable = 64 * (self.packs - len(self.claimed))
        if packable:
            return ImportSettled(done=False, packable=packable)
        self.alone -= 1
        return ImportSettled(done=self.alone < 0, under_way=max(self.alone + 1, 0))

    @activity.defn(name=steps.END_IMPORT.name)
    async def end(self, how: EndImport) -> Done:
        await self._do("end")
        self.ends.append(how)
        self.open = False
        return Done()

    def of(self, queue: Queue) -> list[Callable[..., Any]]:
        served: dict[Queue, list[Callable[..., Any]]] = {
            Queue.CHAT: [self.begin, self.retry_parked, self.claim, self.release, self.settle, self.end],
            Queue.INGEST_CPU: [self.unpack, self.extract],
            Queue.MODELS: [self.embed],
        }
        return served[queue]


@asynccontextmanager
async def import_workers(client: Client, fakes: FakeImport, *, cached: int = 0) -> AsyncIterator[None]:
    """Serve all queues; with the cache off every workflow task replays from the beginning."""
    config = client.config()
    config["data_converter"] = data_converter()
    own = Client(**config)

    def serve(queue: Queue) -> Worker:
        return Worker(
            own,
            task_queue=queue,
            workflows=[ImportDocuments] if queue is Queue.CHAT else [],
            activities=fakes.of(queue),
            interceptors=[ErrorInterceptor()],
            workflow_runner=workflow_runner(),
            max_cached_workflows=cached,
            default_heartbeat_throttle_interval=timedelta(seconds=0.1),
            max_heartbeat_throttle_interval=timedelta(seconds=0.1),
        )

    async with serve(Queue.CHAT), serve(Queue.INGEST_CPU), serve(Queue.MODELS):
        yield
