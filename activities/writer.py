"""Who writes: the attempt that runs now."""

from temporalio import activity

from adapters.postgres.turns import Writer
from domain.runs import attempt_number, local_attempt_number


def this_writer() -> Writer:
    """Name this attempt."""
    info = activity.info()
    number = local_attempt_number(info.attempt) if info.is_local else attempt_number(info.started_time)
    return Writer(info.workflow_run_id or "", number)
