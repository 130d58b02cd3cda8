"""Structured logs: constant events with fields, ids bound, never content."""

import logging
import sys
from typing import Literal

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor
from temporalio.exceptions import ApplicationError


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    """Render for people. The default prints the local variables of each frame: passwords, documents, keys."""
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


# What fails before the settings are read is logged as well.
structlog.configure(
    processors=[structlog.stdlib.add_log_level, structlog.dev.set_exc_info, _console(colors=False)],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)


def configure_logs(*, level: str, style: Literal["console", "json"], service: str) -> None:
    """Send everything, the libraries' logs included, to standard error in one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _drop_colors,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    last: list[Processor] = (
        [_console(colors=sys.stderr.isatty())]
        if style == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Uvicorn's own lines come in our format; requests are logged by `api/request_id.py`.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    for noisy in ("httpx", "httpx2", "google_genai", "openai", "anthropic", "sqlalchemy.engine", "temporalio.activity"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("temporalio.activity").addFilter(_is_news)
    structlog.contextvars.bind_contextvars(service=service)


def _is_news(record: logging.LogRecord) -> bool:
    """Keep out a step's failure that has a code: `activities/interceptor.py` has told it, in a line where that is enough."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, ApplicationError) and error.type)


def _add_trace(_logger: object, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
    return event


def _drop_colors(_logger: object, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # Uvicorn's second copy of each line
    return event
