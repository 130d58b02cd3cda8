"""A span of every request; the runs that it starts and the statements that it makes are in its trace."""

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import Span
from starlette.types import Scope

from adapters.telemetry import Telemetry

# A query may hold the name of a document; probes every few seconds would bury everything else.
_QUERIES = ("http.url", "http.target", "url.full", "url.query")
_PROBES = "/healthz,/readyz,/metrics"


def trace_requests(app: FastAPI, telemetry: Telemetry) -> None:
    """Instrument the app where spans go anywhere. Before it is called first: then its middleware is fixed."""
    if telemetry.provider:
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=telemetry.provider,
            server_request_hook=_without_query,
            excluded_urls=_PROBES,
            exclude_spans=["receive", "send"],  # a streamed answer sends hundreds of pieces
        )


def _without_query(span: Span, scope: Scope) -> None:
    if span.is_recording() and scope.get("query_string"):
        for name in _QUERIES:
            span.set_attribute(name, scope["path"])
