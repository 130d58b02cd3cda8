"""A document's run as Temporal sees it: Updates to a parked one, and which activities are pending."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import StateConflict, Unavailable
from domain.ids import DocumentId
from domain.runs import ingestion_run

_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """An activity that runs, or waits for its next attempt."""

    id: str
    step: str
    attempt: int
    running: bool
    started_at: datetime | None  # of the last attempt
    next_retry_at: datetime | None
    error: tuple[str, str] | None


async def ask_parked(client: Client, document: DocumentId, update: str, *, update_id: UUID) -> None:
    """Send an Update to the run that waits for a person; under the same id it is taken once.

    Raises `StateConflict` where it does not wait (any more), `Unavailable` where no worker takes it.
    """
    handle = client.get_workflow_handle(ingestion_run(document))
    try:
        async with asyncio.timeout(_PATIENCE):
            await handle.execute_update(update, id=str(update_id))
    except WorkflowUpdateFailedError as error:
        raise StateConflict("The document does not wait for this any more. Look at its status again.") from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise Unavailable("No worker took the request. Start one, or try again in a few seconds.") from error
    except RuntimeError as error:  # a lazy client that cannot connect
        raise Unavailable("The workflow engine does not answer just now. Try again in a few seconds.") from error
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise StateConflict(
            "The document's workflow is gone. Within a minute the document is marked failed; retry it then."
        ) from error


async def pending_activities(client: Client, run: str, run_id: str | None) -> list[PendingActivity]:
    """List what the run waits for; nothing where there is no such run. Raises `RPCError`."""
    if run_id is None:
        return []
    try:
        description = await client.get_workflow_handle(run, run_id=run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return [_pending(info) for info in description.raw_description.pending_activities]


def _pending(info: PendingActivityInfo) -> PendingActivity:
    running = info.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    waits = not running and info.attempt > 1 and info.HasField("scheduled_time")
    return PendingActivity(
        id=info.activity_id,
        step=info.activity_type.name,
        attempt=info.attempt,
        running=running,
        started_at=info.last_started_time.ToDatetime(tzinfo=UTC) if info.HasField("last_started_time") else None,
        next_retry_at=info.scheduled_time.ToDatetime(tzinfo=UTC) if waits else None,
        error=_failure(info.last_failure) if info.HasField("last_failure") else None,
    )


def _failure(failure: Failure) -> tuple[str, str]:
    code = failure.application_failure_info.type if failure.HasField("application_failure_info") else ""
    return code or "attempt_failed", failure.message
