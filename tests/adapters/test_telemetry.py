"""One trace from a request through workflow and activities to SQL and the model's call, and none of the content in it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from asgi_lifespan import LifespanManager
from httpx2 import ASGITransport, AsyncClient
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import Replayer

from activities.interceptor import ErrorInterceptor
from adapters.postgres.tracing import trace_statements
from adapters.settings import Settings
from adapters.telemetry import Telemetry, open_telemetry
from adapters.temporal.client import data_converter, ensure_search_attributes
from adapters.wiring import Adapters, open_adapters
from api.main import create_app
from domain.steps import Queue
from tests.gemini_double import error, running_double
from tests.person import Person
from tests.replay.test_replay import histories
from tests.servers import temporal_server
from worker import build_worker
from workflows.registry import WORKFLOWS
from workflows.sandbox import workflow_runner

FACT = "The heliotrope drawer opens with key 7919."
QUESTION = "Which key opens the heliotrope drawer?"
NAME = "larkspur.txt"


@dataclass
class Traced:
    """A person at an API and a worker in this process, whose spans are kept."""

    person: Person
    adapters: Adapters
    exporter: InMemorySpanExporter

    def trace_of(self, method: str, path: str) -> list[ReadableSpan]:
        """Every span of the newest request's trace."""
        spans = self.exporter.get_finished_spans()
        roots = [s for s in spans if s.parent is None and s.name == f"{method} /api/v1{path}"]
        assert roots, sorted({s.name for s in spans if s.parent is None})
        return [s for s in spans if s.context.trace_id == roots[-1].context.trace_id]


@pytest_asyncio.fixture
async def traced(database_url: str, tmp_path: Path) -> AsyncIterator[Traced]:
    async with AsyncExitStack() as stack:
        exporter = InMemorySpanExporter()
        telemetry = open_telemetry("test", processor=SimpleSpanProcessor(exporter))
        double = await stack.enter_async_context(running_double())
        double.script("embed", error(503))  # a failed call is traced as well
        server = await stack.enter_async_context(temporal_server())
        settings = Settings(
            _env_file=None,
            database_url=database_url,
            blob_dir=tmp_path,
            provider="gemini",
            gemini_api_key=SecretStr("test-key"),
            gemini_base_url=double.url,
        )
        temporal = await Client.connect(
            server.address, data_converter=data_converter(), interceptors=telemetry.interceptors
        )
        await ensure_search_attributes(temporal)
        adapters = await stack.enter_async_context(
            open_adapters(settings, service="test", temporal=temporal, telemetry=telemetry)
        )
        for queue in Queue:
            await stack.enter_async_context(build_worker(adapters, queue))
        app = create_app(adapters=adapters)
        await stack.enter_async_context(LifespanManager(app))
        http = AsyncClient(transport=ASGITransport(app), base_url="http://test/api/v1", timeout=60)
        person = await Person.arrives(await stack.enter_async_context(http))
        yield Traced(person, adapters, exporter)


async def test_one_trace_leads_from_a_request_to_sql_and_the_model_and_holds_no_content(traced: Traced) -> None:
    person = traced.person
    document = await person.upload(NAME, FACT.encode())
    await person.ready(document)
    conversation = await person.conversation()
    answer = await person.post(f"/conversations/{conversation}/messages", json={"content": QUESTION})
    await person.get(f"/bots/{person.bot}/documents", params={"name": NAME})

    leads(
        traced.trace_of("POST", "/bots/{bot_id}/documents"),
        "StartWorkflow:IngestDocument",
        "RunWorkflow:IngestDocument",
        "RunActivity:extract",
        "RunActivity:embed",
        "embeddings gemini-embedding-001",
    )
    leads(
        traced.trace_of("POST", "/conversations/{conversation_id}/messages"),
        "StartWorkflow:AnswerTurn",
        "RunWorkflow:AnswerTurn",
        "RunActivity:retrieve",
        "RunActivity:generate_titled",
        "chat gemini-2.5-flash",
    )
    everything = "\n".join(span.to_json() for span in traced.exporter.get_finished_spans())
    profile = await person.get("/users/me")
    for content in ("heliotrope", "larkspur", answer["content"], profile["email"], "correct horse", "test-key"):
        assert content not in everything
    failed = [s.name for s in traced.exporter.get_finished_spans() if (s.attributes or {}).get("error.type")]
    assert failed == ["embeddings gemini-embedding-001"]


def leads(spans: list[ReadableSpan], *names: str) -> None:
    """All of these are in the trace, statements too, and each span but the first has its parent there."""
    found = {span.name for span in spans}
    assert found >= set(names), sorted(found)
    ids = {span.context.span_id for span in spans}
    assert [span.name for span in spans if span.parent is None] == [name for name in found if "/api/v1" in name]
    assert all(span.parent.span_id in ids for span in spans if span.parent is not None)
    by_id = {span.context.span_id: span for span in spans}
    parents = {by_id[s.parent.span_id].name for s in spans if s.parent and "db.query.text" in (s.attributes or {})}
    assert parents & set(names), "no statement of an activity is in the trace"


def a_telemetry() -> tuple[Telemetry, InMemorySpanExporter]:
    """One beside the process's own, of which there is one only."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Telemetry(provider), exporter


async def test_a_failed_statement_is_traced_without_what_it_was_given(engine: AsyncEngine) -> None:
    telemetry, exporter = a_telemetry()
    assert telemetry.tracer is not None
    trace_statements(engine, telemetry.tracer)
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError) as failure:
            await connection.execute(text("SELECT CAST(:number AS integer)"), {"number": "larkspur"})
        await connection.rollback()
        await connection.execute(text("SELECT 1"))
    assert "larkspur" in str(failure.value.orig)

    failed, fine = exporter.get_finished_spans()
    assert (failed.name, failed.status.status_code) == ("SQL SELECT", StatusCode.ERROR)
    assert fine.status.status_code is StatusCode.UNSET
    assert "larkspur" not in failed.to_json()


@pytest.mark.parametrize("history", histories(), ids=lambda history: history.workflow_id)
async def test_a_recorded_run_replays_in_a_worker_that_traces(history: WorkflowHistory) -> None:
    telemetry, exporter = a_telemetry()
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=data_converter(),
        interceptors=[TracingInterceptor(telemetry.tracer), ErrorInterceptor()],
        workflow_runner=workflow_runner(),
    )
    await replayer.replay_workflow(history)
    assert not exporter.get_finished_spans()


def test_without_an_endpoint_nothing_is_traced() -> None:
    telemetry = Telemetry()
    assert (telemetry.provider, telemetry.tracer, list(telemetry.interceptors)) == (None, None, [])
    assert not trace.get_current_span().is_recording()
