"""Running `IngestDocument` against steps that are faked by name."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Worker

from activities.heartbeat import heartbeats
from activities.interceptor import ErrorInterceptor
from adapters.ids import new_id
from adapters.temporal.client import data_converter
from domain import runs, steps
from domain.documents import IngestionRef
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.steps import (
    Begun,
    Chunked,
    Closed,
    CloseIngestion,
    Done,
    Embedded,
    EmbedShard,
    Extracted,
    ParkIngestion,
    Queue,
    Recognized,
    RecognizePages,
)
from workflows.ingestion import IngestDocument
from workflows.sandbox import workflow_runner

Play = Exception | Callable[[], Awaitable[None]]


def a_ref() -> IngestionRef:
    return IngestionRef(
        owner_id=UserId(new_id()),
        bot_id=BotId(new_id()),
        document_id=DocumentId(new_id()),
        ingestion_id=IngestionId(new_id()),
    )


@dataclass
class FakeSteps:
    """Each step succeeds, or first plays what a test put into its script; `calls` names starts and ends in order."""

    shards: int = 1
    extracted: Extracted = field(default_factory=lambda: Extracted(pages=300, characters=643_000))
    pages_a_step: int = 20
    successor: IngestionRef | None = None
    admitted: list[bool] = field(default_factory=list)  # what the next beginnings are told
    published: bool = False  # by the time that the ingestion is closed
    script: dict[str, list[Play]] = field(default_factory=lambda: defaultdict(list))
    calls: list[str] = field(default_factory=list)
    refs: list[IngestionRef] = field(default_factory=list)
    parked: list[ParkIngestion] = field(default_factory=list)
    ends: list[CloseIngestion] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    park_shown: asyncio.Event = field(default_factory=asyncio.Event)

    async def _do(self, name: str) -> None:
        self.calls.append(name)
        plays = self.script[name]
        if plays:
            play = plays.pop(0)
            if isinstance(play, Exception):
                raise play
            try:
                await play()
            finally:
                self.calls.append(f"{name} ended")

    @activity.defn(name=steps.BEGIN_INGESTION.name)
    async def begin(self, ref: IngestionRef) -> Begun:
        self.refs.append(ref)
        await self._do("begin")
        self.begun.set()
        return Begun(admitted=self.admitted.pop(0) if self.admitted else True)

    @activity.defn(name=steps.EXTRACT.name)
    async def extract(self, _: IngestionRef) -> Extracted:
        await self._do("extract")
        return self.extracted

    @activity.defn(name=steps.RECOGNIZE.name)
    async def recognize(self, given: RecognizePages) -> Recognized:
        await self._do(f"recognize {given.part}")
        return self._recognized()

    @activity.defn(name=steps.RECOGNIZE_LOCALLY.name)
    async def recognize_locally(self, given: RecognizePages) -> Recognized:
        await self._do(f"recognize locally {given.part}")
        return self._recognized()

    def _recognized(self) -> Recognized:
        left = max(0, self.extracted.pages_to_recognize - self.pages_a_step)
        self.extracted = self.extracted.model_copy(update={"pages_to_recognize": left})
        return Recognized(pages_left=left, characters=self.extracted.characters)

    @activity.defn(name=steps.KEEP_TEXT_PAGES.name)
    async def keep_text_pages(self, _: IngestionRef) -> Done:
        await self._do("keep_text_pages")
        self.extracted = self.extracted.model_copy(update={"pages_to_recognize": 0})
        return Done()

    @activity.defn(name=steps.CHUNK.name)
    async def chunk(self, _: IngestionRef) -> Chunked:
        await self._do("chunk")
        return Chunked(chunks=self.shards * 500, shards=self.shards)

    @activity.defn(name=steps.EMBED.name)
    async def embed(self, shard: EmbedShard) -> Embedded:
        await self._do(f"embed {shard.shard}")
        return Embedded(chunks=500, model_calls=5)

    @activity.defn(name=steps.PUBLISH.name)
    async def publish(self, ref: IngestionRef) -> Closed:
        await self._do("publish")
        self.published = True
        return Closed(published=True, successor=self._successor(ref))

    @activity.defn(name=steps.PARK.name)
    async def park(self, request: ParkIngestion) -> Done:
        await self._do("park")
        self.parked.append(request)
        self.park_shown.set()
        return Done()

    @activity.defn(name=steps.DISCARD_ARTIFACTS.name)
    async def discard_artifacts(self, _: IngestionRef) -> Done:
        await self._do("discard_artifacts")
        return Done()

    @activity.defn(name=steps.DISCARD_CHUNKS.name)
    async def discard_chunks(self, _: IngestionRef) -> Done:
        await self._do("discard_chunks")
        return Done()

    @activity.defn(name=steps.CLOSE_INGESTION.name)
    async def close(self, end: CloseIngestion) -> Closed:
        await self._do("close")
        self.ends.append(end)
        return Closed(successor=self._successor(end.ref), published=self.published)

    def _successor(self, ref: IngestionRef) -> IngestionRef | None:
        """A local step whose result is lost with its workflow task runs again, and answers the same."""
        return None if ref == self.successor else self.successor

    def of(self, queue: Queue) -> list[Callable[..., Any]]:
        served: dict[Queue, list[Callable[..., Any]]] = {
            Queue.CHAT: [
                self.begin, self.chunk, self.publish, self.park, self.discard_artifacts, self.discard_chunks, self.close,
                self.keep_text_pages,
            ],
            Queue.INGEST_CPU: [self.extract, self.recognize_locally],
            Queue.MODELS: [self.embed, self.recognize],
        }  # fmt: skip
        return served[queue]


@asynccontextmanager
async def workers(
    client: Client, fakes: FakeSteps, *, cached: int = 0, workflow: type = IngestDocument
) -> AsyncIterator[None]:
    """Serve all queues; with the cache off every workflow task replays from the beginning."""
    config = client.config()
    config["data_converter"] = data_converter()
    own = Client(**config)

    def serve(queue: Queue) -> Worker:
        return Worker(
            own,
            task_queue=queue,
            workflows=[workflow] if queue is Queue.CHAT else [],
            activities=fakes.of(queue),
            interceptors=[ErrorInterceptor()],
            workflow_runner=workflow_runner(),
            max_cached_workflows=cached,
            default_heartbeat_throttle_interval=timedelta(seconds=0.1),
            max_heartbeat_throttle_interval=timedelta(seconds=0.1),
        )

    async with serve(Queue.CHAT), serve(Queue.INGEST_CPU), serve(Queue.MODELS):
        yield


async def start(client: Client, ref: IngestionRef) -> WorkflowHandle[IngestDocument, Closed]:
    return await client.start_workflow(
        IngestDocument.run, ref, id=runs.ingestion_run(ref.document_id), task_queue=Queue.CHAT
    )


async def decide(handle: WorkflowHandle[Any, Any], update: str) -> str:
    """Send an Update; answers "accepted", or why it was refused."""
    try:
        await handle.execute_update(update)
    except WorkflowUpdateFailedError as error:
        return str(error.cause)
    return "accepted"


@dataclass
class Stall:
    """A step that works until it is cancelled or let go, heartbeating as a real one."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    deaf: bool = False  # does not hear a cancellation, and succeeds

    async def __call__(self) -> None:
        self.reached.set()
        try:
            async with heartbeats():
                await self.go.wait()
        except asyncio.CancelledError:
            if not self.deaf:
                raise
