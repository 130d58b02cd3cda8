"""What a person does about a document that stands still, against the real workflow, steps and client library."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from pydantic import SecretStr
from pypdf import PdfWriter
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Worker

from activities.registry import activities_of, interceptors_of
from adapters.models.gemini import open_gemini
from adapters.settings import Settings
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.tuning import worker_options
from adapters.wiring import Adapters
from api.routes.ingestions import watch
from domain.ids import DocumentId
from domain.steps import Queue
from tests import gemini_double
from tests.api.conftest import Caller
from tests.api.test_bots import make_bot
from tests.api.test_uploads import upload
from tests.gemini_double import GeminiDouble, running_double
from tests.pdf_files import a_pdf
from tests.servers import temporal_server
from workflows.ingestion import IngestDocument
from workflows.sandbox import workflow_runner

SCAN = a_pdf([""])
TEXT = a_pdf(["The warranty lasts two years. Batteries are excluded."])


def encrypted() -> bytes:
    """A PDF that opens with a password only."""
    writer, content = PdfWriter(clone_from=io.BytesIO(TEXT)), io.BytesIO()
    writer.encrypt("a password", algorithm="AES-256")
    writer.write(content)
    return content.getvalue()


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        yield double


@pytest_asyncio.fixture
async def adapters(adapters: Adapters, settings: Settings, double: GeminiDouble) -> AsyncIterator[Adapters]:
    """The API's adapters, with Gemini's client before the double."""
    chosen = settings.model_copy(
        update={"provider": "gemini", "gemini_api_key": SecretStr("key"), "gemini_base_url": double.url}
    )
    async with open_gemini(chosen) as (embedder, generator):
        yield replace(adapters, settings=chosen, embedder=embedder, generator=generator)


@pytest_asyncio.fixture(autouse=True)
async def workers(adapters: Adapters) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for queue in Queue:
            worker = Worker(
                adapters.temporal,
                task_queue=queue,
                workflows=[IngestDocument] if queue is Queue.CHAT else [],
                activities=activities_of(adapters, queue),
                interceptors=interceptors_of(adapters),
                workflow_runner=workflow_runner(),
                **worker_options(adapters.settings, queue),
            )
            await stack.enter_async_context(worker)
        yield


async def an_upload(owner: Caller, content: bytes) -> str:
    """Answers the document's path."""
    response = await upload(owner, (await make_bot(owner))["id"], content)
    assert response.status_code == 202, response.text
    return f"/api/v1/documents/{response.json()['id']}"


async def reached(owner: Caller, adapters: Adapters, path: str, status: str) -> dict[str, Any]:
    """Watch the document until it stands so, then look at it."""
    document = DocumentId(UUID(path.rsplit("/", 1)[1]))
    async with asyncio.timeout(120):
        async for event in watch(adapters, owner.id, document):
            if event.event == f"document.{status}":
                break
    shown: dict[str, Any] = (await owner.http.get(path)).json()
    assert shown["status"] == status, shown
    return shown


async def history_of(temporal: Client, path: str) -> WorkflowHistory:
    return await temporal.get_workflow_handle(f"ingest/{path.rsplit('/', 1)[1]}").fetch_history()


async def test_a_pdf_without_text_says_so_and_what_to_do_and_is_abandoned(owner: Caller, adapters: Adapters) -> None:
    path = await an_upload(owner, SCAN)

    shown = await reached(owner, adapters, path, "needs_attention")
    error = shown["last_error"]
    assert error["code"] == "no_text"
    assert "OCR" in error["message"]
    flight = (await owner.http.get(f"{path}/ingestion")).json()
    assert (flight["status"], flight["last_error"], flight["workflow"]["reachable"]) == ("parked", error, True)
    assert [(step["step"], step["attempts"], step["state"]) for step in flight["steps"]] == [("extract", 1, "failed")]

    given_up = await owner.http.post(f"{path}/abandon")
    assert given_up.status_code == 202, given_up.text
    shown = await reached(owner, adapters, path, "failed")
    assert shown["last_error"] == error
    for operation in ("abandon", "cancel"):
        assert (await owner.http.post(f"{path}/{operation}")).status_code == 409
    assert (await owner.http.get(f"{path}/content")).content == SCAN


async def test_an_encrypted_pdf_asks_for_one_without_a_password_and_a_new_file_puts_it_right(
    owner: Caller, adapters: Adapters
) -> None:
    path = await an_upload(owner, encrypted())
    shown = await reached(owner, adapters, path, "needs_attention")
    assert shown["last_error"]["code"] == "encrypted_file"
    assert "password" in shown["last_error"]["message"]

    assert (await owner.http.put(f"{path}/file", files={"file": ("b.pdf", TEXT)})).status_code == 202

    shown = await reached(owner, adapters, path, "ready")
    assert (shown["version"], shown["last_error"], shown["chunk_count"]) == (2, None, 1)


async def test_a_refused_key_is_put_right_and_retried_once_a_key_and_nothing_is_paid_twice(
    owner: Caller, adapters: Adapters, double: GeminiDouble, temporal: Client
) -> None:
    double.script("embed", gemini_double.error(401, "UNAUTHENTICATED"))
    path = await an_upload(owner, TEXT)
    shown = await reached(owner, adapters, path, "needs_attention")
    assert shown["last_error"]["code"] == "provider_auth"
    assert "CHATSPHERE_GEMINI_API_KEY" in shown["last_error"]["message"]

    key = {"Idempotency-Key": "put right"}
    answers = await asyncio.gather(*(owner.http.post(f"{path}/retry", headers=key) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.text for answer in answers}) == 1

    shown = await reached(owner, adapters, path, "ready")
    assert (shown["last_error"], shown["chunk_count"]) == (None, 1)
    assert (await owner.http.post(f"{path}/retry", headers=key)).text == answers[0].text
    assert double.calls["embed"] == 2
    updates = [
        event for event in (await history_of(temporal, path)).events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    ]  # fmt: skip
    assert len(updates) == 1


@pytest.mark.parametrize("operation", ["retry", "abandon"])
async def test_what_is_refused_leaves_its_key_free(owner: Caller, adapters: Adapters, operation: str) -> None:
    path = await an_upload(owner, TEXT)
    await reached(owner, adapters, path, "ready")
    key = {"Idempotency-Key": "k"}

    for _ in range(2):
        response = await owner.http.post(f"{path}/{operation}", headers=key)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "invalid_state")


async def test_what_is_parked_is_cancelled_by_its_run(owner: Caller, adapters: Adapters) -> None:
    path = await an_upload(owner, SCAN)
    await reached(owner, adapters, path, "needs_attention")

    assert (await owner.http.post(f"{path}/cancel")).status_code == 202

    shown = await reached(owner, adapters, path, "cancelled")
    assert shown["last_error"]["code"] == "cancelled"
    retried = await owner.http.post(f"{path}/retry")
    assert retried.status_code == 202
    assert (await reached(owner, adapters, path, "needs_attention"))["last_error"]["code"] == "no_text"


async def test_a_step_that_is_tried_again_shows_why_how_often_and_when_next(
    owner: Caller, adapters: Adapters, double: GeminiDouble
) -> None:
    double.script("embed", *[gemini_double.rate_limited("0.2s")] * 2, gemini_double.rate_limited("60s"))
    path = await an_upload(owner, TEXT)

    flight = await waiting(owner, path, attempt=4)

    (pending,) = flight["pending"]
    assert (pending["step"], pending["running"]) == ("embed", False)
    assert pending["last_error"]["code"] == "provider_rate_limited"
    due = datetime.fromisoformat(flight["next_retry_at"])
    assert timedelta(seconds=30) < due - datetime.now(UTC) <= timedelta(seconds=60)
    (step,) = [step for step in flight["steps"] if step["step"] == "embed"]
    assert (step["state"], step["attempts"], step["last_error"]) == ("waiting", 3, pending["last_error"])
    assert (step["next_retry_at"], step["model_calls"]) == (flight["next_retry_at"], {"made": 0, "needed": 1})
    assert step["url"].endswith(f"/{flight['workflow']['run_id']}/pending-activities")
    assert flight["model_calls"] == {"made": 0, "needed": 1}
    assert (flight["status"], flight["stage"]) == ("running", "embedding")

    assert (await owner.http.post(f"{path}/cancel")).status_code == 202
    await reached(owner, adapters, path, "cancelled")


async def waiting(owner: Caller, path: str, *, attempt: int) -> dict[str, Any]:
    """The flight record as soon as this attempt is the next one."""
    async with asyncio.timeout(120):
        while True:
            flight: dict[str, Any] = (await owner.http.get(f"{path}/ingestion")).json()
            if flight["next_retry_at"] and flight["pending"][0]["attempt"] == attempt:
                return flight
