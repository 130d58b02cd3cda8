"""The edge between errors and Temporal: what a step raises, every workflow can read."""

from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.errors import DomainError
from domain.steps import STEPS

log = structlog.get_logger(__name__)


_PATIENCE = {step.name: step.policy.patience for step in STEPS}


class ErrorInterceptor(Interceptor):
    """Turns a `DomainError` into an `ApplicationError` whose type is the error's code."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002  (Temporal's name)
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002  (Temporal's name)
        info = activity.info()
        with structlog.contextvars.bound_contextvars(
            workflow_id=info.workflow_id,
            run_id=info.workflow_run_id,
            activity=info.activity_type,
            attempt=info.attempt,
        ):
            try:
                return await super().execute_activity(input)
            except DomainError as error:
                retryable = error.retryable and not _is_too_long(error.retry_after, info.activity_type)
                log.warning("step_failed", code=error.code, retryable=retryable)
                raise ApplicationError(
                    error.message,
                    type=error.code,
                    non_retryable=not retryable,
                    next_retry_delay=error.retry_after if retryable else None,
                ) from None
            except ApplicationError:
                raise
            except Exception as error:
                # The text of an unforeseen error may quote a document; only its class leaves this process.
                log.exception("step_crashed")
                raise ApplicationError(
                    f"The step failed unexpectedly ({type(error).__name__}). See the worker's log, then retry.",
                    type="internal",
                ) from None


def _is_too_long(pause: timedelta | None, step: str) -> bool:
    patience = _PATIENCE.get(step)
    return pause is not None and patience is not None and pause > patience
