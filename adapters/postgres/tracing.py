"""A span of every statement: its text with placeholders, never its parameters, nor what Postgres says of them.

Written here since the instrumentation that OpenTelemetry offers takes no SQLAlchemy after 2.0.
"""

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

_SPAN = "chatsphere_span"


def trace_statements(engine: AsyncEngine, tracer: Tracer) -> None:
    """Make the spans, under the one that is current. COPY goes past SQLAlchemy and shows in its step's span only."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _start(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        verb = statement.split(maxsplit=1)[0].upper()
        connection.info[_SPAN] = tracer.start_span(
            f"SQL {verb}",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.operation.name": verb, "db.query.text": statement},
        )

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def _end(connection: Connection, *_: object) -> None:
        span = _taken(connection)
        if span is not None:
            span.end()

    @event.listens_for(engine.sync_engine, "handle_error")
    def _fail(context: ExceptionContext) -> None:
        span = None if context.connection is None else _taken(context.connection)
        if span is not None:
            span.set_attribute("error.type", type(context.original_exception).__name__)
            span.set_status(Status(StatusCode.ERROR))
            span.end()


def _taken(connection: Connection) -> Span | None:
    span = connection.info.pop(_SPAN, None)
    return span if isinstance(span, Span) else None
