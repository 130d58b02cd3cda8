"""Retry and abandon reach the run that waits for a person, as Updates."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.documents import IngestionRef
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
