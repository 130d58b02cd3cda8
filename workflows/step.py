"""How a workflow calls a step: one place for queue, timeouts, retries and cancellation."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from domain.policy import Policy
    from domain.steps import InputT, OutputT, Step

_WAIT = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
_TRY = workflow.ActivityCancellationType.TRY_CANCEL
# Longer pauses of a local step become timers, so that its worker's slot is free while Postgres is down.
_LOCAL_RETRIES = timedelta(seconds=5)


async def run_step(step: Step[InputT, OutputT], value: InputT, *, summary: str | None = None) -> OutputT:
    """Run an activity as its step says, and wait for its result.

    A cancelled step is waited for: what compensates it must not run beside it.
    """
    policy = step.policy
    if step.local:
        local: OutputT = await workflow.execute_local_activity(
            step.name,
            value,
            result_type=step.output,
            start_to_close_timeout=policy.attempt,
            schedule_to_close_timeout=policy.total,
            retry_policy=_retries(policy),
            local_retry_threshold=_LOCAL_RETRIES,
            cancellation_type=_WAIT,
            summary=summary or step.summary,
        )
        return local
    result: OutputT = await workflow.execute_activity(
        step.name,
        value,
        result_type=step.output,
        task_queue=step.queue,
        start_to_close_timeout=policy.attempt,
        schedule_to_close_timeout=policy.total,
        heartbeat_timeout=policy.heartbeat,
        retry_policy=_retries(policy),
        cancellation_type=_TRY if step.try_cancel else _WAIT,
        summary=summary or step.summary,
    )
    return result


async def run_to_end(step: Step[InputT, OutputT], value: InputT) -> OutputT:
    """Run a step that a cancellation must not interrupt, however often one comes."""
    task = asyncio.create_task(run_step(step, value))
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
        except FailureError:
            break
    return task.result()


def stop_if_cancelled() -> None:
    """Raise what a step that finished although it was to be cancelled has swallowed."""
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError


def failure_of(error: FailureError) -> tuple[str, str]:
    """Give the stable code and the sentence of a step that failed for good.

    A local activity's failure comes as it was raised, a regular one's inside an `ActivityError`.
    """
    cause: BaseException | None = error
    while isinstance(cause, ActivityError):
        cause = cause.cause
    if isinstance(cause, ApplicationError):
        return cause.type or "internal", cause.message
    if isinstance(cause, TemporalTimeoutError):
        last = cause.cause
        if isinstance(last, ApplicationError):
            return last.type or "internal", last.message
        return "step_timeout", "The step did not finish in its time. See the worker's log, then retry."
    return "internal", "The step failed unexpectedly. See the worker's log, then retry."


def _retries(policy: Policy) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=policy.first_pause,
        maximum_interval=max(policy.longest_pause, policy.first_pause),
        maximum_attempts=policy.attempts or 0,
    )
