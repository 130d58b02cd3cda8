"""The paths of `Housekeeping`."""

from temporalio import activity
from temporalio.client import Client, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from domain import runs
from domain.steps import CLOSE_ORPHANS, EXPIRE, SWEEP_PENDING, HousekeepingTick, Queue, Swept
from tests.replay.runs import await_end, histories_of
from workflows.housekeeping import Housekeeping
from workflows.sandbox import workflow_runner


class Steps:
    """Fakes; the sweep fails for good where it is told to."""

    def __init__(self, *, broken: bool) -> None:
        self._broken = broken

    @activity.defn(name=SWEEP_PENDING.name)
    async def sweep(self, _: HousekeepingTick) -> Swept:
        if self._broken:
            raise ApplicationError("Temporal does not answer.", type="unavailable", non_retryable=True)
        return Swept(count=1)

    @activity.defn(name=CLOSE_ORPHANS.name)
    async def close(self, _: HousekeepingTick) -> Swept:
        return Swept(count=2)

    @activity.defn(name=EXPIRE.name)
    async def expire(self, _: HousekeepingTick) -> Swept:
        return Swept(count=3)


async def _played(client: Client, run: str, steps: Steps) -> list[WorkflowHistory]:
    async with Worker(
        client,
        task_queue=Queue.CHAT,
        workflows=[Housekeeping],
        activities=[steps.sweep, steps.close, steps.expire],
        workflow_runner=workflow_runner(),
    ):
        handle = await client.start_workflow(Housekeeping.run, HousekeepingTick(), id=run, task_queue=Queue.CHAT)
        return await histories_of(client, await await_end(handle))


async def tick(client: Client) -> list[WorkflowHistory]:
    """Every step succeeds."""
    return await _played(client, f"{runs.HOUSEKEEPING_ID}-1", Steps(broken=False))


async def failed_tick(client: Client) -> list[WorkflowHistory]:
    """A step fails; the others are taken, and the run fails at its end."""
    return await _played(client, f"{runs.HOUSEKEEPING_ID}-2", Steps(broken=True))


PATHS = {"housekeeping": tick, "housekeeping_failed_step": failed_tick}
