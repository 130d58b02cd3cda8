"""OpenTelemetry: one trace from request through workflow and activities to SQL and model call.

It is exported when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set; without it no
tracer is installed and the instrumented calls cost nothing. Spans carry ids and counts, never content.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from temporalio.client import Interceptor
from temporalio.contrib.opentelemetry import TracingInterceptor


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A process's tracing; `provider` is None where nothing is exported."""

    provider: TracerProvider | None = None

    @property
    def tracer(self) -> Tracer | None:
        """Make spans of our own."""
        return self.provider.get_tracer("chatsphere") if self.provider else None

    @property
    def interceptors(self) -> Sequence[Interceptor]:
        """Carry the trace through Temporal; the workers of a client inherit them."""
        return [TracingInterceptor(self.tracer)] if self.tracer else []

    def shutdown(self) -> None:
        """Export what is left."""
        if self.provider:
            self.provider.shutdown()


def open_telemetry(service: str, *, processor: SpanProcessor | None = None) -> Telemetry:
    """Install the tracer where an OTLP endpoint is set, or where a test brings its own `processor`."""
    if processor is None:
        if not (os.getenv("OTEL_EXPORTER_OTLP_ENDPOINT") or os.getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
            return Telemetry()
        processor = BatchSpanProcessor(OTLPSpanExporter())
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"chatsphere-{service}"}))
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return Telemetry(provider)
