"""IndexBot, with its activities faked by step name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.heartbeat import heartbeats
from adapters.ids import new_id
from domain import runs
from domain.ids import BotId, UserId
from domain.indexes import IndexState
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
from workflows.indexes import IndexBot
from workflows.sandbox import workflow_runner


class Steps:
    """Fakes: a bot for which there is this to do; failures are raised in turn."""

    def __init__(self, plan: IndexPlanned) -> None:
        self.plan = plan
        self.taken: list[str] = []
        self.ends: list[CloseIndex] = []
        self.fail: dict[str, list[ApplicationError]] = {}
        self.hold = False
        self.building = asyncio.Event()

    def _take(self, step: str) -> None:
        self.taken.append(step)
        if self.fail.get(step):
            raise self.fail[step].pop(0)

    @activity.defn(name=PLAN_INDEX.name)
    async def plan_index(self, _: IndexRef) -> IndexPlanned:
        self._take("plan")
        return self.plan

    @activity.defn(name=BUILD_VECTOR_INDEX.name)
    async def build(self, _: IndexRef) -> Done:
        self._take("build")
        self.building.set()
        if self.hold:
            async with heartbeats():
                await asyncio.Event().wait()
        return Done()

    @activity.defn(name=INDEX_KEYWORDS.name)
    async def index_keywords(self, _: IndexRef) -> KeywordsIndexed:
        self._take("keywords")
        return KeywordsIndexed(segments=1, chunks=self.plan.chunks)

    @activity.defn(name=CLOSE_INDEX.name)
    async def close(self, end: CloseIndex) -> Done:
        self._take("close")
        self.ends.append(end)
        return Done()

    @activity.defn(name=DROP_INDEX.name)
    async def drop(self, _: IndexRef) -> Done:
        self._take("drop")
        return Done()


@asynccontextmanager
async def workers(client: Client, steps: Steps) -> AsyncIterator[None]:
    async with (
        Worker(
            client,
            task_queue=Queue.CHAT,
            workflows=[IndexBot],
            activities=[steps.plan_index, steps.build, steps.close, steps.drop],
            workflow_runner=workflow_runner(),
            max_cached_workflows=0,
        ),
        Worker(client, task_queue=Queue.INGEST_CPU, activities=[steps.index_keywords]),
    ):
        yield


def a_ref() -> IndexRef:
    return IndexRef(owner_id=UserId(new_id()), bot_id=BotId(new_id()))


async def index(environment: WorkflowEnvironment, steps: Steps) -> IndexPlanned:
    ref = a_ref()
    async with workers(environment.client, steps):
        return await environment.client.execute_workflow(
            IndexBot.run, ref, id=runs.index_run(ref.bot_id), task_queue=Queue.CHAT
        )


@pytest.mark.parametrize(
    ("plan", "taken"),
    [
        (IndexPlanned(chunks=9, build_vectors=True, index_keywords=True), ["plan", "build", "keywords", "close"]),
        (IndexPlanned(chunks=9, index_keywords=True), ["plan", "keywords", "close"]),
        (IndexPlanned(chunks=9), ["plan", "close"]),
        (IndexPlanned(chunks=1, drop=True), ["plan", "drop"]),
    ],
    ids=["all anew", "keywords only", "nothing", "too small"],
)
async def test_what_is_needed_is_done_and_the_end_is_written_down(
    temporal_env: WorkflowEnvironment, plan: IndexPlanned, taken: list[str]
) -> None:
    steps = Steps(plan)
    assert await index(temporal_env, steps) == plan
    assert steps.taken == taken
    assert [(end.state, end.code) for end in steps.ends] == ([] if plan.drop else [(IndexState.VALID, None)])


async def test_a_step_whose_database_is_away_is_tried_again(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps(IndexPlanned(chunks=9, build_vectors=True, index_keywords=True))
    away = "The database does not answer."
    steps.fail = {step: [ApplicationError(away, type="unavailable")] * 3 for step in ("build", "keywords", "close")}
    await index(temporal_env, steps)
    assert [steps.taken.count(step) for step in ("build", "keywords", "close")] == [4, 4, 4]


@pytest.mark.parametrize("step", ["build", "keywords"])
async def test_what_cannot_be_built_is_written_down_and_fails_the_run(
    temporal_env: WorkflowEnvironment, step: str
) -> None:
    steps = Steps(IndexPlanned(chunks=9, build_vectors=True, index_keywords=True))
    steps.fail[step] = [ApplicationError("The disk is full.", type="internal", non_retryable=True)]
    with pytest.raises(WorkflowFailureError):
        await index(temporal_env, steps)
    assert [(end.state, end.code, end.message) for end in steps.ends] == [
        (IndexState.FAILED, "internal", "The disk is full.")
    ]


async def test_a_cancelled_build_is_waited_for_and_then_cleared_away(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps(IndexPlanned(chunks=9, build_vectors=True, index_keywords=True))
    steps.hold = True
    ref = a_ref()
    async with workers(temporal_env.client, steps):
        handle = await temporal_env.client.start_workflow(
            IndexBot.run, ref, id=runs.index_run(ref.bot_id), task_queue=Queue.CHAT
        )
        await steps.building.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert steps.taken == ["plan", "build", "close"]
    assert [end.state for end in steps.ends] == [IndexState.CANCELLED]
