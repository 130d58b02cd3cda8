"""Housekeeping: a Schedule runs it, so what fails in one tick is tried in the next."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.steps import CLOSE_ORPHANS, EXPIRE, SWEEP_PENDING, HousekeepingTick, Swept
    from workflows.step import failure_of, run_step


@workflow.defn(name=runs.HOUSEKEEPING)
class Housekeeping:
    """Starts what a crash left pending, closes what lost its run, expires what is old."""

    @workflow.run
    async def run(self, tick: HousekeepingTick) -> Swept:
        """Take every step, whatever became of the one before; fail at the end, so that it is seen."""
        count = 0
        failed: tuple[str, str] | None = None
        for step in (SWEEP_PENDING, CLOSE_ORPHANS, EXPIRE):
            try:
                count += (await run_step(step, tick)).count
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                failed = failed or failure_of(error)
        if failed is not None:
            code, message = failed
            raise ApplicationError(message, type=code)
        return Swept(count=count)
