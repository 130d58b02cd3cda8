"""Housekeeping, with its activities faked by step name."""

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from adapters.ids import new_id
from domain.steps import CLOSE_ORPHANS, EXPIRE, SWEEP_PENDING, HousekeepingTick, Queue, Swept
from workflows.housekeeping import Housekeeping
from workflows.sandbox import workflow_runner


class Steps:
    """Counts what was taken; the sweep fails where it is told to."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.taken: list[str] = []

    @activity.defn(name=SWEEP_PENDING.name)
    async def sweep(self, _: HousekeepingTick) -> Swept:
        self.taken.append("sweep")
        if self.broken:
            raise ApplicationError("Temporal does not answer.", type="unavailable")
        return Swept(count=1)

    @activity.defn(name=CLOSE_ORPHANS.name)
    async def close(self, _: HousekeepingTick) -> Swept:
        self.taken.append("close")
        return Swept(count=2)

    @activity.defn(name=EXPIRE.name)
    async def expire(self, _: HousekeepingTick) -> Swept:
        self.taken.append("expire")
        return Swept(count=3)


async def tick(environment: WorkflowEnvironment, steps: Steps) -> Swept:
    async with Worker(
        environment.client,
        task_queue=Queue.CHAT,
        workflows=[Housekeeping],
        activities=[steps.sweep, steps.close, steps.expire],
        workflow_runner=workflow_runner(),
        max_cached_workflows=0,
    ):
        return await environment.client.execute_workflow(
            Housekeeping.run, HousekeepingTick(), id=f"housekeeping-{new_id()}", task_queue=Queue.CHAT
        )


async def test_a_tick_takes_every_step(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps()
    assert await tick(temporal_env, steps) == Swept(count=6)
    assert steps.taken == ["sweep", "close", "expire"]


async def test_a_step_that_fails_stops_no_other_and_is_seen(temporal_env: WorkflowEnvironment) -> None:
    steps = Steps(broken=True)
    with pytest.raises(WorkflowFailureError) as failure:
        await tick(temporal_env, steps)
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "unavailable"
    assert steps.taken == ["sweep"] * 3 + ["close", "expire"]
