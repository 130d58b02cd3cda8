"""Who writes: the attempt that runs now."""

from temporalio import activity

from adapters.postgres.turns import Writer
from domain.runs import attempt_number


def this_writer() -> Writer:
    """Name this attempt."""
    info = activity.info()
    return Writer(info.workflow_run_id or "", attempt_number(info.started_time))
