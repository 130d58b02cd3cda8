"""The paths of `IndexBot`."""

import asyncio
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.heartbeat import heartbeats
from adapters.temporal.runs import start_indexing
from domain import runs
from domain.ids import BotId, UserId
from domain.steps import (
    BUILD_VECTOR_INDEX,
    CLOSE_INDEX,
    DROP_INDEX,
    INDEX_KEYWORDS,
    PLAN_INDEX,
    CloseIndex,
    Done,
    IndexPlanned,
    IndexRef,
    KeywordsIndexed,
    Queue,
)
from tests.replay.runs import await_end, histories_of
from workflows.indexes import IndexBot
from workflows.sandbox import workflow_runner


class Steps:
    """Fakes: what there is to do; keywords that cannot be written, or vectors that never are."""

    def __init__(self, plan: IndexPlanned, *, broken: bool = False, endless: bool = False) -> None:
        self._plan = plan
        self._broken = broken
        self._endless = endless
        self.building = asyncio.Event()

    @activity.defn(name=PLAN_INDEX.name)
    async def plan(self, _: IndexRef) -> IndexPlanned:
        return self._plan

    @activity.defn(name=BUILD_VECTOR_INDEX.name)
    async def build(self, _: IndexRef) -> Done:
        self.building.set()
        if self._endless:
            async with heartbeats():
                await asyncio.Event().wait()
        return Done()

    @activity.defn(name=INDEX_KEYWORDS.name)
    async def keywords(self, _: IndexRef) -> KeywordsIndexed:
        if self._broken:
            raise ApplicationError("The disk is full.", type="internal", non_retryable=True)
        return KeywordsIndexed(segments=2, chunks=self._plan.chunks)

    @activity.defn(name=CLOSE_INDEX.name)
    async def close(self, _: CloseIndex) -> Done:
        return Done()

    @activity.defn(name=DROP_INDEX.name)
    async def drop(self, _: IndexRef) -> Done:
        return Done()


async def _played(client: Client, number: int, steps: Steps, *, cancel: bool = False) -> list[WorkflowHistory]:
    ref = IndexRef(owner_id=UserId(UUID(int=1)), bot_id=BotId(UUID(int=number)))
    async with (
        Worker(
            client,
            task_queue=Queue.CHAT,
            workflows=[IndexBot],
            activities=[steps.plan, steps.build, steps.close, steps.drop],
            workflow_runner=workflow_runner(),
        ),
        Worker(client, task_queue=Queue.INGEST_CPU, activities=[steps.keywords]),
    ):
        assert await start_indexing(client, ref)
        handle = client.get_workflow_handle(runs.index_run(ref.bot_id))
        if cancel:
            await steps.building.wait()
            await handle.cancel()
        return await histories_of(client, await await_end(handle))


_EVERYTHING = IndexPlanned(chunks=100_000, build_vectors=True, index_keywords=True)


async def built(client: Client) -> list[WorkflowHistory]:
    """A bot that grew."""
    return await _played(client, 70, Steps(_EVERYTHING))


async def worn(client: Client) -> list[WorkflowHistory]:
    """A bot whose keywords are to be written anew."""
    return await _played(client, 71, Steps(IndexPlanned(chunks=100_000, index_keywords=True)))


async def dropped(client: Client) -> list[WorkflowHistory]:
    """A bot that shrank."""
    return await _played(client, 72, Steps(IndexPlanned(chunks=10, drop=True)))


async def failed(client: Client) -> list[WorkflowHistory]:
    """A step whose failure no retry mends."""
    return await _played(client, 73, Steps(_EVERYTHING, broken=True))


async def cancelled(client: Client) -> list[WorkflowHistory]:
    """A person stops it while vectors are indexed."""
    return await _played(client, 74, Steps(_EVERYTHING, endless=True), cancel=True)


PATHS = {
    "index": built,
    "index_worn": worn,
    "index_dropped": dropped,
    "index_failed": failed,
    "index_cancelled": cancelled,
}
