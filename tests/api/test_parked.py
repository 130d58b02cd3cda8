"""Retry and abandon reach the run that waits for a person, as Updates."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from adapters.temporal.ingestions import ask_parked
from api.routes import ingestions as ingestion_routes
from domain.documents import IngestionRef
from domain.ids import DocumentId
from domain.runs import ABANDON_UPDATE, INGEST_DOCUMENT, RETRY_UPDATE
from domain.steps import Queue
from tests.api.conftest import Caller
from tests.api.test_documents import a_document, set_state


@workflow.defn(name=INGEST_DOCUMENT)
class Parked:
    """Waits for one Update, as a parked ingestion does."""

    def __init__(self) -> None:
        self.asked = ""

    @workflow.run
    async def run(self, _: IngestionRef) -> str:
        await workflow.wait_condition(lambda: bool(self.asked))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.asked

    @workflow.update(name=RETRY_UPDATE)
    async def retry(self) -> None:
        self.asked = RETRY_UPDATE

    @workflow.update(name=ABANDON_UPDATE)
    async def abandon(self) -> None:
        self.asked = ABANDON_UPDATE

    @abandon.validator
    def _never(self) -> None:
        raise ValueError("It does not wait any more.")


@pytest_asyncio.fixture
async def worker(temporal: Client) -> AsyncIterator[None]:
    async with Worker(temporal, task_queue=Queue.CHAT, workflows=[Parked], workflow_runner=UnsandboxedWorkflowRunner()):
        yield


@pytest.mark.usefixtures("worker")
async def test_retry_is_an_update_of_the_open_run_and_is_replayed(
    owner: Caller, engine: AsyncEngine, temporal: Client
) -> None:
    document = await a_document(owner)
    await set_state(engine, document["id"], "needs_attention", "parked")
    url, key = f"/api/v1/documents/{document['id']}/retry", {"Idempotency-Key": "once"}

    first = await owner.http.post(url, headers=key)
    again = await owner.http.post(url, headers=key)

    assert first.status_code == 202, first.text
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")
    assert await temporal.get_workflow_handle(f"ingest/{document['id']}").result() == RETRY_UPDATE


@pytest.mark.usefixtures("worker")
async def test_an_update_that_the_run_refuses_is_409(owner: Caller, engine: AsyncEngine) -> None:
    document = await a_document(owner)
    await set_state(engine, document["id"], "needs_attention", "parked")

    response = await owner.http.post(f"/api/v1/documents/{document['id']}/abandon")

    assert (response.status_code, response.json()["error"]["code"]) == (409, "invalid_state")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("then", ["needs_attention", "processing"])
async def test_after_a_crash_between_the_update_and_the_answer_the_same_request_asks_no_second_time(
    owner: Caller, engine: AsyncEngine, temporal: Client, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    document = await a_document(owner)
    await set_state(engine, document["id"], "needs_attention", "parked")
    url, key = f"/api/v1/documents/{document['id']}/retry", {"Idempotency-Key": "once"}

    async def asked_and_lost(client: Client, asked: DocumentId, update: str, *, update_id: UUID) -> None:
        await ask_parked(client, asked, update, update_id=update_id)
        raise RuntimeError("The process ends here.")

    with monkeypatch.context() as crashing:
        crashing.setattr(ingestion_routes, "ask_parked", asked_and_lost)
        assert (await owner.http.post(url, headers=key)).status_code == 500
    await set_state(engine, document["id"], then, "running")

    again = await owner.http.post(url, headers=key)

    assert (again.status_code, again.json()["status"]) == (202, then), again.text
    history = await temporal.get_workflow_handle(f"ingest/{document['id']}").fetch_history()
    accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    assert [event.event_type for event in history.events].count(accepted) == 1
    assert (await owner.http.post(url, headers=key)).headers["Idempotent-Replayed"] == "true"


@pytest.mark.usefixtures("worker")
async def test_no_connection_is_held_while_the_run_is_asked(
    owner: Caller, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await a_document(owner)
    await set_state(engine, document["id"], "needs_attention", "parked")
    held: list[str] = []

    async def looked(client: Client, asked: DocumentId, update: str, *, update_id: UUID) -> None:
        held.append(engine.pool.status())
        await ask_parked(client, asked, update, update_id=update_id)

    monkeypatch.setattr(ingestion_routes, "ask_parked", looked)
    assert (await owner.http.post(f"/api/v1/documents/{document['id']}/retry")).status_code == 202

    assert "Current Checked out connections: 0" in held[0]
