"""Deletion on a real Postgres and a real Temporal server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import deletion
from activities.deletion import Deletion
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import engine as engine_module
from adapters.postgres import tables
from adapters.temporal.runs import is_open
from domain import runs
from domain.blobs import pages_key, source_key
from domain.documents import IngestionRef
from domain.ids import DocumentId
from domain.steps import DeletionRef, Purged
from tests.rows import Home, a_crawl, a_document, a_home, a_new_version, a_turn, count, row_of, store_chunks
from tests.servers import TemporalServer


@pytest.fixture
async def client(dev_server: TemporalServer) -> Client:
    return await dev_server.client()


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "blobs")


@pytest.fixture
def steps(engine: AsyncEngine, blobs: FolderBlobStore, client: Client) -> Deletion:
    return Deletion(engine, blobs, client, now, patience=timedelta(seconds=20), chunk_batch=3)


async def purge(steps: Deletion, ref: DeletionRef) -> Purged:
    step = steps.purge_bot if ref.document_id is None else steps.purge_document
    return await ActivityEnvironment().run(step, ref)


async def purge_all(steps: Deletion, ref: DeletionRef) -> Purged:
    while (purged := await purge(steps, ref)).more:
        pass
    return purged


async def some_bytes() -> AsyncIterator[bytes]:
    yield b"Sentence 1."


async def a_stored_document(engine: AsyncEngine, blobs: FolderBlobStore, home: Home) -> IngestionRef:
    """Two versions, seven chunks, two blobs, and a turn that keeps a passage."""
    ref = await a_document(engine, home, chunks=4)
    newer = await a_new_version(engine, ref, ingestion="running")
    async with engine.begin() as connection:
        await store_chunks(connection, newer, 3)
        for version, pages in ((ref, 2), (newer, 3)):
            mine = tables.ingestions.c.id == version.ingestion_id
            await connection.execute(update(tables.ingestions).where(mine).values(pages=pages))
    await blobs.put(source_key(ref.document_id, ref.ingestion_id), some_bytes())
    await blobs.put(pages_key(ref.document_id, newer.ingestion_id), some_bytes())
    await a_turn(engine, home, passages_of=ref.document_id)
    return ref


async def what_is_left(engine: AsyncEngine, blobs: FolderBlobStore, ref: IngestionRef) -> dict[str, int]:
    document = ref.document_id
    steps = tables.ingestion_steps.c.ingestion_id
    return {
        "documents": await count(engine, tables.documents, tables.documents.c.id == document),
        "contents": await count(engine, tables.document_contents, tables.document_contents.c.document_id == document),
        "ingestions": await count(engine, tables.ingestions, tables.ingestions.c.document_id == document),
        "steps": await count(engine, tables.ingestion_steps, steps == ref.ingestion_id),
        "chunks": await count(engine, tables.chunks, tables.chunks.c.document_id == document),
        "passages": await count(engine, tables.turn_passages, tables.turn_passages.c.document_id == document),
        "blobs": (await blobs.delete_prefix(f"documents/{document}/")).blobs,
    }


async def test_a_purge_leaves_nothing_of_the_document_but_a_receipt(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion
) -> None:
    home = await a_home(engine)
    ref = await a_stored_document(engine, blobs, home)
    assert await purge(steps, home.deletion_of(ref)) == Purged(documents=1, chunks=7)
    assert set((await what_is_left(engine, blobs, ref)).values()) == {0}
    receipt = await row_of(engine, tables.deletions, ref.document_id)
    assert (receipt.status, receipt.documents, receipt.documents_total, receipt.chunks) == ("complete", 1, 1, 7)
    assert (receipt.pages, receipt.blobs, receipt.bytes) == (5, 2, 2 * len(b"Sentence 1."))
    assert receipt.started_at <= receipt.finished_at


async def test_a_purge_touches_no_other_document(engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion) -> None:
    home = await a_home(engine)
    other = await a_stored_document(engine, blobs, home)
    await purge(steps, home.deletion_of(await a_stored_document(engine, blobs, home)))
    left = await what_is_left(engine, blobs, other)
    assert left == {"documents": 1, "contents": 0, "ingestions": 2, "steps": 1, "chunks": 7, "passages": 1, "blobs": 2}


async def test_a_purge_twice_is_as_good_as_once(engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion) -> None:
    home = await a_home(engine)
    ref = home.deletion_of(await a_stored_document(engine, blobs, home))
    first = await purge(steps, ref)
    finished_at = (await row_of(engine, tables.deletions, ref.document_id)).finished_at
    assert await purge(steps, ref) == first
    assert (await row_of(engine, tables.deletions, ref.document_id)).finished_at == finished_at


async def test_two_purges_at_the_same_time_count_each_chunk_once(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion
) -> None:
    home = await a_home(engine)
    ref = await a_document(engine, home, chunks=20)
    await asyncio.gather(*(purge(steps, home.deletion_of(ref)) for _ in range(2)))
    receipt = await row_of(engine, tables.deletions, ref.document_id)
    assert (receipt.documents, receipt.chunks, receipt.pages) == (1, 20, 0)


class Crash(Exception):
    """The process died here."""


def crashing(monkeypatch: pytest.MonkeyPatch, at: int, *, committed: bool) -> Callable[[], bool]:
    """Let the transaction number `at` be the last; answers whether it came to that."""
    seen = 0

    @asynccontextmanager
    async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        nonlocal seen
        seen += 1
        async with engine_module.transaction(engine) as connection:
            yield connection
            if seen == at and not committed:
                raise Crash
        if seen == at:
            raise Crash

    monkeypatch.setattr(deletion, "transaction", transaction)
    return lambda: seen >= at


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
@pytest.mark.parametrize("whole_bot", [False, True], ids=["document", "bot"])
async def test_a_crash_at_any_write_leaves_the_same_after_another_run(
    engine: AsyncEngine,
    blobs: FolderBlobStore,
    steps: Deletion,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
    whole_bot: bool,
) -> None:
    crashed, at = True, 0
    while crashed:
        at += 1
        home = await a_home(engine)
        ref = await a_stored_document(engine, blobs, home)
        target = home.deletion if whole_bot else home.deletion_of(ref)
        with monkeypatch.context() as patch:
            reached = crashing(patch, at, committed=committed)
            try:
                await purge_all(steps, target)
            except Crash:
                assert reached()
            crashed = reached()
        assert await purge_all(steps, target) == Purged(documents=1, chunks=7), f"crash at transaction {at}"
        assert set((await what_is_left(engine, blobs, ref)).values()) == {0}
    assert at > 5


async def test_a_purge_waits_for_a_batch_that_is_being_stored_and_refuses_the_next(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion
) -> None:
    home = await a_home(engine)
    ref = await a_document(engine, home, status="processing", ingestion="running", chunks=2)
    fence = (
        update(tables.ingestions)
        .where(tables.ingestions.c.id == ref.ingestion_id, tables.ingestions.c.status == "running")
        .values(stored_chunks=4)
    )
    async with engine.connect() as writer:
        document = tables.documents.c.id == ref.document_id
        await writer.execute(select(tables.documents.c.id).where(document).with_for_update())
        assert (await writer.execute(fence)).rowcount == 1
        await writer.execute(text("DELETE FROM chunks"))
        await store_chunks(writer, ref, 4)
        purging = asyncio.create_task(purge(steps, home.deletion_of(ref)))
        await somebody_waits_for_a_lock(engine)
        await writer.commit()
        assert (await purging).chunks == 4
        assert (await writer.execute(fence)).rowcount == 0


_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def somebody_waits_for_a_lock(engine: AsyncEngine) -> None:
    async with asyncio.timeout(60), engine.connect() as connection:
        while not await connection.scalar(_WAITING):  # noqa: ASYNC110  (Postgres tells nobody)
            await asyncio.sleep(0.01)


async def test_a_purge_of_a_bot_leaves_neither_documents_nor_conversations(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion
) -> None:
    home, other = await a_home(engine), await a_home(engine)
    ref = await a_stored_document(engine, blobs, home)
    await a_stored_document(engine, blobs, other)
    assert (await purge(steps, home.deletion)).more
    assert await purge_all(steps, home.deletion) == Purged(documents=1, chunks=7)
    assert set((await what_is_left(engine, blobs, ref)).values()) == {0}
    for table in (tables.conversations, tables.turns, tables.messages, tables.turn_events, tables.bots):
        assert await count(engine, table) == 1, "only the other bot's"
    receipt = await row_of(engine, tables.deletions, home.bot_id)
    assert (receipt.status, receipt.documents_total, receipt.pages, receipt.blobs) == ("complete", 1, 5, 2)
    assert receipt.conversations == 1


_TEN_THOUSAND = (
    """
    INSERT INTO documents (id, owner_id, bot_id, name, source_type, content_type, size_bytes, sha256,
                           current_ingestion_id, active_ingestion_id, status)
    SELECT gen_random_uuid(), :owner, :bot, 'Note ' || n, 'text', 'text/plain', 10, n::text, id, id, 'ready'
    FROM generate_series(1, 10000) n, LATERAL (SELECT gen_random_uuid() AS id WHERE n > 0) AS version
    """,
    """
    INSERT INTO ingestions (id, document_id, owner_id, bot_id, version, status, format, content_type, size_bytes,
                            sha256, pages)
    SELECT current_ingestion_id, id, owner_id, bot_id, 1, 'published', 'text', 'text/plain', 10, sha256, 1
    FROM documents
    """,
    """
    INSERT INTO chunks (ingestion_id, ordinal, id, owner_id, bot_id, document_id, content, page_starts, char_start,
                        char_end, heading_path, embedding)
    SELECT current_ingestion_id, 0, gen_random_uuid(), owner_id, bot_id, id, name, '{}', 0, 1, '{}',
           array_fill(1, ARRAY[768])::vector::halfvec
    FROM documents
    """,
)


async def test_a_bot_of_ten_thousand_documents_goes_in_batches_with_progress_through_crashes(
    engine: AsyncEngine, blobs: FolderBlobStore, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await a_home(engine)
    async with engine.begin() as connection:
        for statement in _TEN_THOUSAND:
            await connection.execute(text(statement), {"owner": home.owner_id, "bot": home.bot_id})
    steps = Deletion(engine, blobs, client, now)
    seen, crashes = [0], 0
    while True:
        with monkeypatch.context() as patch:
            reached = crashing(patch, 2 + crashes % 5, committed=bool(crashes % 2)) if crashes < 10 else lambda: False
            try:
                purged = await purge(steps, home.deletion)
            except Crash:
                assert reached()
                crashes += 1
                continue
        seen.append(purged.documents)
        if not purged.more:
            break
        receipt = await row_of(engine, tables.deletions, home.bot_id)
        assert (receipt.status, receipt.documents_total) == ("pending", 10_000)
    assert seen == sorted(seen)
    assert crashes > 0
    receipt = await row_of(engine, tables.deletions, home.bot_id)
    assert (receipt.status, receipt.documents, receipt.chunks, receipt.pages) == ("complete", 10_000, 10_000, 10_000)
    for table in (tables.documents, tables.ingestions, tables.chunks, tables.bots):
        assert await count(engine, table) == 0


async def test_a_document_accepted_in_the_last_moment_is_purged_with_its_bot(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Deletion
) -> None:
    home = await a_home(engine)
    async with engine.connect() as late:
        await late.execute(select(tables.bots.c.id).where(tables.bots.c.id == home.bot_id).with_for_update(read=True))
        purging = asyncio.create_task(purge(steps, home.deletion))
        await somebody_waits_for_a_lock(engine)
        document, file = new_id(), {"content_type": "text/plain", "size_bytes": 1, "sha256": "0", "name": "Late"}
        await late.execute(
            tables.documents.insert().values(
                id=document, owner_id=home.owner_id, bot_id=home.bot_id, source_type="text",
                current_ingestion_id=new_id(), **file,
            )
        )  # fmt: skip
        await late.commit()
    assert (await purging).more
    assert await purge_all(steps, home.deletion) == Purged(documents=1, chunks=0)
    assert await count(engine, tables.bots) == 0


# Stopping


@workflow.defn(name=runs.INGEST_DOCUMENT)
class Stoppable:
    """Stands for an ingestion: `"closes"` when cancelled, `"hands on"` to a successor, or `"ignores"` it."""

    @workflow.run
    async def run(self, behaviour: str) -> None:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            if behaviour == "hands on":
                workflow.continue_as_new("closes")
            if behaviour == "ignores":
                await workflow.wait_condition(lambda: False)
            raise


@pytest.fixture
async def queue(client: Client) -> AsyncIterator[str]:
    name = f"deletion-{new_id()}"
    async with Worker(client, task_queue=name, workflows=[Stoppable], workflow_runner=UnsandboxedWorkflowRunner()):
        yield name


@pytest.mark.parametrize("behaviour", ["closes", "hands on"])
async def test_stopping_awaits_the_end_of_the_run_and_of_its_successors(
    engine: AsyncEngine, client: Client, steps: Deletion, queue: str, behaviour: str
) -> None:
    home, document = Home(), DocumentId(new_id())
    ref = DeletionRef(owner_id=home.owner_id, bot_id=home.bot_id, document_id=document)
    run = runs.ingestion_run(document)
    handle = await client.start_workflow(Stoppable.run, behaviour, id=run, task_queue=queue)
    await ActivityEnvironment().run(steps.stop_ingestion, ref)
    assert not await is_open(client, run)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED


async def test_a_run_that_does_not_stop_is_terminated(
    engine: AsyncEngine, blobs: FolderBlobStore, client: Client, queue: str
) -> None:
    home, document = Home(), DocumentId(new_id())
    ref = DeletionRef(owner_id=home.owner_id, bot_id=home.bot_id, document_id=document)
    run = runs.ingestion_run(document)
    handle = await client.start_workflow(Stoppable.run, "ignores", id=run, task_queue=queue)
    steps = Deletion(engine, blobs, client, now, patience=timedelta(seconds=1))
    await ActivityEnvironment().run(steps.stop_ingestion, ref)
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED


async def test_stopping_what_does_not_run_is_fine(steps: Deletion) -> None:
    home = Home()
    ref = DeletionRef(owner_id=home.owner_id, bot_id=home.bot_id, document_id=DocumentId(new_id()))
    await ActivityEnvironment().run(steps.stop_ingestion, ref)


async def test_a_bots_crawls_are_stopped_and_purged_with_it(
    engine: AsyncEngine, client: Client, steps: Deletion, queue: str
) -> None:
    home, other = await a_home(engine), await a_home(engine)
    crawls = [await a_crawl(engine, home, status="running") for _ in range(2)]
    kept = await a_crawl(engine, other)
    async with engine.begin() as connection:
        for ref in (*crawls, kept):
            for number in range(4):
                url = f"http://site.example/{number}"
                values = {"id": new_id(), "crawl_id": ref.crawl_id, "url": url, "depth": 0}
                await connection.execute(insert(tables.crawl_pages).values(values))
    run = runs.crawl_run(crawls[0].crawl_id)
    await client.start_workflow(Stoppable.run, "closes", id=run, task_queue=queue)
    await purge_all(steps, home.deletion)
    assert not await is_open(client, run)
    assert await count(engine, tables.crawls) == 1
    assert await count(engine, tables.crawl_pages) == 4
    assert await row_of(engine, tables.bots, home.bot_id) is None
