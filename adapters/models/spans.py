"""One client span around each model call, in OpenTelemetry's GenAI names and without content."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from domain.errors import DomainError

_tracer = trace.get_tracer("chatsphere.models")


@contextmanager
def model_span(operation: str, *, provider: str, model: str) -> Iterator[Span]:
    """Record a call of `operation` (`embeddings`, `chat`); a failure is named by its code only.

    The span is not made current, since a stream is left and entered again between its events.
    """
    span = _tracer.start_span(
        f"{operation} {model}",
        kind=SpanKind.CLIENT,
        attributes={
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        },
    )
    try:
        yield span
    except DomainError as error:
        span.set_attribute("error.type", error.code)
        span.set_status(Status(StatusCode.ERROR, error.code))
        raise
    finally:
        span.end()


def record_usage(span: Span, *, input_tokens: int, output_tokens: int | None = None) -> None:
    """Write down what the call cost."""
    span.set_attribute("gen_ai.usage.input_tokens", input_tokens)
    if output_tokens is not None:
        span.set_attribute("gen_ai.usage.output_tokens", output_tokens)
