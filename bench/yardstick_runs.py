"""Workflows that do nothing: what orchestration itself costs on the machine."""

from datetime import timedelta

from temporalio import activity, workflow

_LIMIT = timedelta(seconds=10)


@activity.defn
async def nothing() -> int:
    """Answer at once."""
    return 1


@workflow.defn
class Empty:
    """No step."""

    @workflow.run
    async def run(self) -> None:
        """End."""


@workflow.defn
class TurnSteps:
    """The four steps that every turn has, with nothing in them."""

    @workflow.run
    async def run(self) -> None:
        """Run a local one, two regular ones, a local one."""
        await workflow.execute_local_activity(nothing, start_to_close_timeout=_LIMIT)
        for _ in range(2):
            await workflow.execute_activity(nothing, start_to_close_timeout=_LIMIT)
        await workflow.execute_local_activity(nothing, start_to_close_timeout=_LIMIT)


@workflow.defn
class FourSteps:
    """Four activities, one after the other."""

    @workflow.run
    async def run(self) -> None:
        """Run them."""
        for _ in range(4):
            await workflow.execute_activity(nothing, start_to_close_timeout=_LIMIT)
