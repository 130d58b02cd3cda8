"""The edge between errors and Temporal: what a step raises, every workflow can read."""

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.errors import DomainError

log = structlog.get_logger(__name__)


class ErrorInterceptor(Interceptor):
    """Turns a `DomainError` into an `ApplicationError` whose type is the error's code."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002
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
                log.warning("step_failed", code=error.code, retryable=error.retryable)
                raise ApplicationError(
                    error.message,
                    type=error.code,
                    non_retryable=not error.retryable,
                    next_retry_delay=error.retry_after if error.retryable else None,
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
