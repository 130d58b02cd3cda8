"""Runs and rows that lost each other: the sweeper and the janitor bring them together, and a retry pays for nothing twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client

from adapters.blobs import FolderBlobStore
from adapters.postgres import tables
from domain import policy
from domain.blobs import source_key
from domain.documents import IngestionRef
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.runs import INGEST_DOCUMENT, ingestion_run
from domain.steps import Queue
from tests.faults.manuscripts import manuscript
from tests.gemini_double import GeminiDouble, fine, stalled
from tests.person import Person
from tests.processes import Deployment, Worker
from tests.rows import Home, a_document, count

BATCH, STORED, IN_FLIGHT = 100, 2, 6
SWEEPERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE '%FROM deletions%'"
)


async def terminate(client: Client, workflow_id: str) -> None:
    await client.get_workflow_handle(workflow_id).terminate()


async def delete_run(client: Client, workflow_id: str) -> None:
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
        )
    )


async def in_the_middle_of_embedding(person: Person, double: GeminiDouble, title: str) -> str:
    """A document with two batches stored, the others stalled at the provider."""
    double.script("embed", *[fine()] * STORED, *[stalled()] * IN_FLIGHT)
    document = await person.upload("keys.txt", manuscript(title))
    await asyncio.wait_for(double.reached.wait(), 60)
    await person.until(document, lambda now: now["progress"]["chunks_done"] >= STORED * BATCH)
    return document


@pytest.mark.parametrize("lose", [terminate, delete_run], ids=["terminated", "deleted"])
async def test_a_run_that_is_lost_from_outside_fails_its_document_and_a_retry_goes_on(
    deployed: Deployment,
    double: GeminiDouble,
    worker: Worker,
    person: Person,
    lose: Callable[[Client, str], Awaitable[None]],
) -> None:
    document = await in_the_middle_of_embedding(person, double, lose.__name__)
    await lose(await deployed.client(), ingestion_run(DocumentId(UUID(document))))
    failed = await person.until(document, lambda now: now["status"] == "failed")
    assert failed["last_error"]["code"] == "workflow_lost"
    double.release.set()
    await person.post(f"/documents/{document}/retry")
    await published_once(person, double, document)


async def test_a_run_that_times_out_fails_its_document_and_a_retry_goes_on(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, rows: AsyncEngine
) -> None:
    double.script("embed", *[stalled()] * IN_FLIGHT)
    ref = await an_accepted_document(deployed, person, rows, "Timed out")
    client = await deployed.client()
    await client.start_workflow(
        INGEST_DOCUMENT, ref, id=ingestion_run(ref.document_id), task_queue=Queue.CHAT,
        execution_timeout=timedelta(seconds=5),
    )  # fmt: skip
    document = str(ref.document_id)
    failed = await person.until(document, lambda now: now["status"] == "failed")
    assert failed["last_error"]["code"] == "workflow_lost"
    double.release.set()
    await person.post(f"/documents/{document}/retry")
    await published_once(person, double, document)


async def test_a_row_whose_run_was_never_started_is_swept_up(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, rows: AsyncEngine
) -> None:
    ref = await an_accepted_document(deployed, person, rows, "Never started")
    await published_once(person, double, str(ref.document_id))


async def test_a_row_is_swept_up_soon_although_the_worker_died_in_the_middle_of_a_sweep(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, rows: AsyncEngine
) -> None:
    async with rows.connect() as holder:
        await holder.execute(text("LOCK TABLE deletions IN ACCESS EXCLUSIVE MODE"))  # what a sweep reads first
        async with asyncio.timeout(30):
            while not await holder.scalar(SWEEPERS):
                await asyncio.sleep(0.05)
                await holder.execute(text("SELECT pg_stat_clear_snapshot()"))
        await worker.kill()
    ref = await an_accepted_document(deployed, person, rows, "Half swept")
    await deployed.worker()
    assert policy.HOUSEKEEPING.heartbeat is not None
    await person.ready(str(ref.document_id), seconds=policy.HOUSEKEEPING.heartbeat.total_seconds() + 60)


async def test_a_run_whose_row_is_gone_ends_and_leaves_nothing(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, rows: AsyncEngine
) -> None:
    document = await in_the_middle_of_embedding(person, double, "Gone")
    id_ = DocumentId(UUID(document))
    async with rows.begin() as connection:
        await connection.execute(delete(tables.documents).where(tables.documents.c.id == id_))
    double.release.set()
    client = await deployed.client()
    await ended(client, ingestion_run(id_))
    for table in (tables.ingestions, tables.chunks):
        assert await count(rows, table, table.c.document_id == id_) == 0


async def test_a_run_without_any_row_ends_at_once(deployed: Deployment, worker: Worker) -> None:
    client = await deployed.client()
    ref = IngestionRef(
        owner_id=UserId(uuid4()),
        bot_id=BotId(uuid4()),
        document_id=DocumentId(uuid4()),
        ingestion_id=IngestionId(uuid4()),
    )
    await client.start_workflow(INGEST_DOCUMENT, ref, id=ingestion_run(ref.document_id), task_queue=Queue.CHAT)
    await ended(client, ingestion_run(ref.document_id))


async def ended(client: Client, workflow_id: str) -> None:
    async with asyncio.timeout(120):
        await client.get_workflow_handle(workflow_id).result()


async def published_once(person: Person, double: GeminiDouble, document: str) -> None:
    """Ready, every chunk there once, and no stored batch paid for again."""
    seen = await person.ready(document)
    chunks = await person.chunks(document)
    assert [chunk["ordinal"] for chunk in chunks] == list(range(seen["chunk_count"]))
    paid = Counter(double.texts_embedded)
    assert {chunk["content"] for chunk in chunks} <= set(paid)
    assert paid.total() <= len(chunks) + IN_FLIGHT * BATCH


async def an_accepted_document(deployed: Deployment, person: Person, rows: AsyncEngine, title: str) -> IngestionRef:
    """What an upload leaves that died between its commit and the start of the run."""
    me = await person.get("/users/me")
    home = Home(owner_id=UserId(UUID(me["id"])), bot_id=BotId(UUID(person.bot)))
    ref = await a_document(rows, home, status="pending", ingestion="pending")
    blobs = FolderBlobStore(Path(deployed.settings["CHATSPHERE_BLOB_DIR"]))

    async def content() -> AsyncIterator[bytes]:
        yield manuscript(title)

    await blobs.put(source_key(ref.document_id, ref.ingestion_id), content())
    return ref
