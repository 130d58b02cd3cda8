"""Housekeeping on a real Postgres and a real Temporal server."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities import housekeeping as steps_module
from activities.housekeeping import Housekeeping
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import document_requests, tables
from adapters.postgres import housekeeping as rows
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import is_open
from domain import runs
from domain.blobs import document_prefix, ingestion_prefix, source_key
from domain.documents import IngestionRef
from domain.ids import DocumentId, IngestionId, answer_id
from domain.steps import HousekeepingTick
from tests.rows import LONG_AGO, Home, a_crawl, a_document, a_home, a_new_version, a_turn, count, row_of, store_chunks
from tests.servers import temporal_server

TICK = HousekeepingTick(grace=timedelta(seconds=15))


@pytest_asyncio.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    """Of a server of its own: what is swept stays open, and no other test's worker must take it up."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "blobs")


@pytest.fixture
def steps(engine: AsyncEngine, blobs: FolderBlobStore, client: Client) -> Housekeeping:
    return Housekeeping(engine, blobs, client, now)


async def run(step: Any) -> int:
    return int((await ActivityEnvironment().run(step, TICK)).count)


@workflow.defn(name="Idle")
class Idle:
    """Stands for a run that is open."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


async def an_open_run(client: Client, id_: str) -> WorkflowHandle[Any, Any]:
    """No worker is needed for a run to be open."""
    return await client.start_workflow(Idle.run, id=id_, task_queue=f"nobody-{new_id()}")


async def set_run(engine: AsyncEngine, ref: IngestionRef, run_id: str | None, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            update(tables.ingestions).where(tables.ingestions.c.id == ref.ingestion_id).values(run_id=run_id, **values)
        )


async def supersede(engine: AsyncEngine, ref: IngestionRef, run_id: str | None) -> None:
    await set_run(engine, ref, run_id, status="cancelled", cancel_requested_at=now() - LONG_AGO)


# Sweeping


async def test_what_a_crash_left_pending_is_started(engine: AsyncEngine, client: Client, steps: Housekeeping) -> None:
    home = await a_home(engine)
    document = await a_document(engine, home, status="pending", ingestion="pending", age=LONG_AGO)
    turn = await a_turn(engine, home, status="pending", age=LONG_AGO)
    gone = await a_document(engine, home, status="deleting", ingestion="cancelled")
    async with engine.begin() as connection:
        await connection.execute(
            insert(tables.deletions).values(
                id=gone.document_id, owner_id=home.owner_id, bot_id=home.bot_id, document_id=gone.document_id,
                updated_at=now() - LONG_AGO,
            )
        )  # fmt: skip
    assert await run(steps.sweep_pending) == 3
    assert await is_open(client, runs.ingestion_run(document.document_id))
    assert await is_open(client, runs.turn_run(turn.conversation_id))
    assert await is_open(client, runs.deletion_run(gone.document_id))


async def test_a_second_sweep_starts_nothing(engine: AsyncEngine, steps: Housekeeping) -> None:
    await a_document(engine, await a_home(engine), status="pending", ingestion="pending", age=LONG_AGO)
    assert await run(steps.sweep_pending) == 1
    assert await run(steps.sweep_pending) == 0


async def test_what_was_accepted_just_now_is_left_to_the_api(engine: AsyncEngine, steps: Housekeeping) -> None:
    home = await a_home(engine)
    await a_document(engine, home, status="pending", ingestion="pending")
    await a_turn(engine, home, status="pending")
    assert await run(steps.sweep_pending) == 0


async def test_the_oldest_are_started_first_and_a_tick_has_its_share(
    engine: AsyncEngine, client: Client, steps: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "STARTS", 1)
    home = await a_home(engine)
    younger = await a_document(engine, home, status="pending", ingestion="pending", age=LONG_AGO)
    older = await a_document(engine, home, status="pending", ingestion="pending", age=2 * LONG_AGO)
    assert await run(steps.sweep_pending) == 1
    assert await is_open(client, runs.ingestion_run(older.document_id))
    assert not await is_open(client, runs.ingestion_run(younger.document_id))


async def test_only_those_for_whom_there_is_room_are_started(
    engine: AsyncEngine, client: Client, blobs: FolderBlobStore
) -> None:
    steps = Housekeeping(engine, blobs, client, now, cap=2)
    home, other = await a_home(engine), await a_home(engine)
    await a_document(engine, home, status="processing", ingestion="running", age=LONG_AGO)

    async def waits(home: Home, age: timedelta) -> IngestionRef:
        return await a_document(engine, home, status="pending", ingestion="pending", age=age)

    first, second = [await waits(home, n * LONG_AGO) for n in (3, 2)]
    others = [await waits(other, LONG_AGO) for _ in range(3)]
    assert await run(steps.sweep_pending) == 3
    assert await is_open(client, runs.ingestion_run(first.document_id))
    assert not await is_open(client, runs.ingestion_run(second.document_id))
    assert [await is_open(client, runs.ingestion_run(ref.document_id)) for ref in others] == [True, True, False]


async def test_a_run_that_waits_although_there_is_room_is_called(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    ref = await a_document(engine, await a_home(engine), status="pending", ingestion="pending", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(ref.document_id))
    await set_run(engine, ref, handle.first_execution_run_id)
    assert await run(steps.sweep_pending) == 0
    assert await was_called(handle)


async def test_what_waits_and_has_lost_its_run_is_started_again(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    ref = await a_document(engine, await a_home(engine), status="pending", ingestion="pending", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(ref.document_id))
    await set_run(engine, ref, handle.first_execution_run_id)
    await handle.terminate()
    assert await run(steps.sweep_pending) == 1
    assert await is_open(client, runs.ingestion_run(ref.document_id))


async def test_a_document_that_was_retried_before_its_waiting_run_heard_of_the_cancel_is_not_left_pending(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    """The open run has the id that the retry needs: it is woken, finds itself closed, and hands the id on."""
    ref = await a_document(engine, await a_home(engine), status="pending", ingestion="pending", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(ref.document_id))
    await set_run(engine, ref, handle.first_execution_run_id)
    async with engine.begin() as connection:
        await document_requests.cancel(connection, ref.owner_id, ref.document_id, now=now())
        await document_requests.retry(connection, ref.owner_id, ref.document_id)
        await connection.execute(update(tables.documents).values(updated_at=now() - LONG_AGO))
    await run(steps.sweep_pending)
    assert await was_called(handle)


async def was_called(handle: WorkflowHandle[Any, Any]) -> bool:
    signals = [
        event.workflow_execution_signaled_event_attributes.signal_name
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    return signals == [runs.ADMIT_SIGNAL]


async def test_a_run_that_was_cancelled_while_it_waited_is_told_although_the_message_got_lost(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    ref = await a_document(engine, await a_home(engine), status="pending", ingestion="pending", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(ref.document_id))
    await set_run(engine, ref, handle.first_execution_run_id)
    async with engine.begin() as connection:
        asked = await document_requests.cancel(connection, ref.owner_id, ref.document_id, now=now() - LONG_AGO)
    assert asked.cancel_run == handle.first_execution_run_id
    assert (await row_of(engine, tables.documents, ref.document_id)).status == "cancelled"
    await run(steps.sweep_pending)
    assert await was_cancelled(handle)


async def was_cancelled(handle: WorkflowHandle[Any, Any]) -> bool:
    names = [event.event_type async for event in handle.fetch_history_events()]
    return WORKFLOW_EXECUTION_CANCEL_REQUESTED in names


WORKFLOW_EXECUTION_CANCEL_REQUESTED = 20  # temporalio.api.enums.v1.EventType


async def test_a_cancel_that_got_lost_is_sent_again(engine: AsyncEngine, client: Client, steps: Housekeeping) -> None:
    ref = await a_document(engine, await a_home(engine), status="processing", ingestion="running", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(ref.document_id))
    await set_run(engine, ref, handle.first_execution_run_id)
    await run(steps.sweep_pending)
    assert not await was_cancelled(handle)
    await set_run(engine, ref, handle.first_execution_run_id, cancel_requested_at=now() - LONG_AGO)
    await run(steps.sweep_pending)
    assert await was_cancelled(handle)


async def test_the_run_of_a_superseded_version_is_told_to_stop_and_its_successor_waits(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    old = await a_document(engine, await a_home(engine), status="pending", ingestion="running", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(old.document_id))
    await a_new_version(engine, old)
    await supersede(engine, old, handle.first_execution_run_id)
    assert await run(steps.sweep_pending) == 0
    assert await was_cancelled(handle)
    await handle.terminate()
    assert await run(steps.sweep_pending) == 1


async def test_a_superseded_run_is_told_to_stop_although_versions_between_never_ran(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    oldest = await a_document(engine, await a_home(engine), status="pending", ingestion="running", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(oldest.document_id))
    await supersede(engine, oldest, handle.first_execution_run_id)
    between = await a_new_version(engine, oldest)
    await supersede(engine, between, None)
    await a_new_version(engine, oldest)
    assert await run(steps.sweep_pending) == 0
    assert await was_cancelled(handle)


async def test_a_superseded_run_is_told_to_stop_once_and_although_the_new_version_was_cancelled_meanwhile(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    old = await a_document(engine, await a_home(engine), status="cancelled", ingestion="parked", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(old.document_id))
    await supersede(engine, old, handle.first_execution_run_id)
    await set_run(engine, await a_new_version(engine, old), None, status="cancelled")
    await run(steps.sweep_pending)
    assert await was_cancelled(handle)
    async with engine.begin() as connection:
        assert await rows.unwanted_runs(connection, before=now(), limit=9) == []


# Orphans


async def test_a_document_without_a_run_fails_and_keeps_what_was_stored(
    engine: AsyncEngine, steps: Housekeeping
) -> None:
    home = await a_home(engine)
    ref = await a_document(engine, home, status="processing", ingestion="running", age=LONG_AGO, chunks=3)
    assert await run(steps.close_orphans) == 1
    document = await row_of(engine, tables.documents, ref.document_id)
    assert (document.status, document.error_code) == ("failed", "workflow_lost")
    assert "retry" in document.error_message
    ingestion = await row_of(engine, tables.ingestions, ref.ingestion_id)
    assert (ingestion.status, ingestion.error_code) == ("failed", "workflow_lost")
    assert await count(engine, tables.chunks) == 3
    assert await run(steps.close_orphans) == 0


async def test_a_parked_document_whose_run_was_terminated_can_be_retried(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    ref = await a_document(engine, await a_home(engine), status="needs_attention", ingestion="parked", age=LONG_AGO)
    handle = await an_open_run(client, runs.ingestion_run(ref.document_id))
    assert await run(steps.close_orphans) == 0
    await handle.terminate()
    assert await run(steps.close_orphans) == 1
    assert (await row_of(engine, tables.documents, ref.document_id)).status == "failed"


async def test_an_earlier_version_answers_on_when_the_new_one_lost_its_run(
    engine: AsyncEngine, steps: Housekeeping
) -> None:
    old = await a_document(engine, await a_home(engine), age=LONG_AGO, chunks=2)
    new = await a_new_version(engine, old, ingestion="running")
    async with engine.begin() as connection:
        await store_chunks(connection, new, 3)
        await connection.execute(update(tables.documents).values(status="processing"))
    assert await run(steps.close_orphans) == 1
    document = await row_of(engine, tables.documents, old.document_id)
    assert (document.status, document.version, document.content_type) == ("ready", 1, "text/plain")
    assert document.sha256 == (await row_of(engine, tables.ingestions, old.ingestion_id)).sha256
    assert document.active_ingestion_id == old.ingestion_id
    assert document.error_code == "workflow_lost"
    assert await count(engine, tables.chunks, tables.chunks.c.ingestion_id == old.ingestion_id) == 2
    assert await count(engine, tables.chunks) == 2


async def test_a_lost_run_that_was_to_be_cancelled_ends_as_cancelled(engine: AsyncEngine, steps: Housekeeping) -> None:
    ref = await a_document(engine, await a_home(engine), status="processing", ingestion="running", age=LONG_AGO)
    await set_run(engine, ref, "gone", cancel_requested_at=now())
    await run(steps.close_orphans)
    document = await row_of(engine, tables.documents, ref.document_id)
    assert (document.status, document.error_code) == ("cancelled", "cancelled")


async def test_a_turn_without_a_run_fails_with_an_answer_and_an_event(engine: AsyncEngine, steps: Housekeeping) -> None:
    ref = await a_turn(engine, await a_home(engine), age=LONG_AGO, events=3)
    assert await run(steps.close_orphans) == 1
    turn = await row_of(engine, tables.turns, ref.turn_id)
    assert (turn.status, turn.error_code) == ("failed", "workflow_lost")
    answer = await row_of(engine, tables.messages, answer_id(ref.turn_id))
    assert (answer.status, answer.content) == ("failed", "word2 word3 ")
    event = select(tables.turn_events.c.type).order_by(tables.turn_events.c.sequence.desc()).limit(1)
    async with engine.connect() as connection:
        assert await connection.scalar(event) == "turn.failed"
    assert await run(steps.close_orphans) == 0


async def test_a_finished_generation_is_kept_as_the_answer_it_is(engine: AsyncEngine, steps: Housekeeping) -> None:
    ref = await a_turn(engine, await a_home(engine), age=LONG_AGO, events=3)
    async with engine.begin() as connection:
        await connection.execute(update(tables.turns).values(draft="word2 word3 "))
    assert await run(steps.close_orphans) == 1
    assert (await row_of(engine, tables.turns, ref.turn_id)).status == "complete"


async def test_a_turn_whose_run_is_open_is_left_alone(engine: AsyncEngine, client: Client, steps: Housekeeping) -> None:
    ref = await a_turn(engine, await a_home(engine), age=LONG_AGO)
    await an_open_run(client, runs.turn_run(ref.conversation_id))
    assert await run(steps.close_orphans) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"status": "ready"},
        {"updated_at": func.now()},
        {"current_ingestion_id": new_id()},
    ],
    ids=["finished", "moved on", "superseded"],
)
async def test_a_document_that_changed_since_it_was_looked_at_is_left_alone(
    engine: AsyncEngine, change: dict[str, Any]
) -> None:
    await a_document(engine, await a_home(engine), status="processing", ingestion="running", age=LONG_AGO)
    async with engine.begin() as connection:
        seen = await rows.unfinished_documents(connection, before=now())
    async with engine.begin() as connection:
        await connection.execute(update(tables.documents).values(change))
    async with engine.begin() as connection:
        assert not await rows.lose_document(connection, seen[0], now=now())


@pytest.mark.parametrize(
    "change", [{"epoch": 2}, {"run_id": "another"}, {"status": "published"}], ids=["retried", "run again", "published"]
)
async def test_an_ingestion_that_changed_since_it_was_looked_at_is_left_alone(
    engine: AsyncEngine, change: dict[str, Any]
) -> None:
    await a_document(engine, await a_home(engine), status="processing", ingestion="running", age=LONG_AGO)
    async with engine.begin() as connection:
        seen = await rows.unfinished_documents(connection, before=now())
    async with engine.begin() as connection:
        await connection.execute(update(tables.ingestions).values(change))
    async with engine.begin() as connection:
        assert not await rows.lose_document(connection, seen[0], now=now())


@pytest.mark.parametrize(
    "change", [{"status": "complete"}, {"last_sequence": 9}, {"run_id": "another"}], ids=["done", "writing", "resumed"]
)
async def test_a_turn_that_changed_since_it_was_looked_at_is_left_alone(
    engine: AsyncEngine, change: dict[str, Any]
) -> None:
    await a_turn(engine, await a_home(engine), age=LONG_AGO)
    async with engine.begin() as connection:
        seen = await rows.unfinished_turns(connection, before=now())
    async with engine.begin() as connection:
        await connection.execute(update(tables.turns).values(change))
    async with engine.begin() as connection:
        assert not await rows.lose_turn(connection, seen[0], now=now())


# Expiry


async def test_old_things_expire_in_batches_and_young_ones_stay(
    engine: AsyncEngine, steps: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "EXPIRY_BATCH", 2)
    home = await a_home(engine)
    old, young = timedelta(days=8), timedelta(hours=1)
    await a_turn(engine, home, status="complete", age=old, events=5)
    await a_turn(engine, home, status="complete", age=young, events=1)
    await a_turn(engine, home, status="running", age=old, events=1)
    async with engine.begin() as connection:
        for age in (old, old, old, young):
            key = {"scope": "public", "key_hash": new_id().bytes, "fingerprint": b"", "created_at": now() - age}
            await connection.execute(insert(tables.idempotency_keys).values(key))
            token = {"user_id": home.owner_id, "family_id": new_id(), "token_hash": new_id().bytes}
            await connection.execute(insert(tables.refresh_tokens).values(id=new_id(), expires_at=now() - age, **token))
            model = {"provider": "gemini", "model": new_id().hex, "updated_at": now() - age}
            await connection.execute(insert(tables.provider_budgets).values(model))
    assert await run(steps.expire) == 14
    assert await count(engine, tables.turn_events) == 2
    assert await count(engine, tables.idempotency_keys) == 1
    assert await count(engine, tables.refresh_tokens) == 1
    assert await count(engine, tables.provider_budgets) == 1
    assert await run(steps.expire) == 0


async def test_blobs_that_no_document_has_are_collected_after_a_day(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Housekeeping, tmp_path: Path
) -> None:
    ref = await a_document(engine, await a_home(engine))
    late, slow, early = (DocumentId(new_id()) for _ in range(3))
    for document in (ref.document_id, late, slow, early):
        await blobs.put(source_key(document, ref.ingestion_id), some_bytes())
    # The rows of a slow upload of many files come hours after the bytes of the first one.
    ages = {ref.document_id: 25, late: 25, slow: 23}
    for document, age in ages.items():
        changed = (now() - timedelta(hours=age)).timestamp()
        for folder in (document_prefix(document), ingestion_prefix(document, ref.ingestion_id)):
            os.utime(tmp_path / "blobs" / folder, (changed, changed))
    assert await run(steps.expire) == 1
    left = {name async for name, _ in blobs.folders("documents/")}
    assert left == {str(ref.document_id), str(slow), str(early)}
    assert [name async for name, _ in blobs.folders(document_prefix(slow))] == [str(ref.ingestion_id)]


async def some_bytes() -> AsyncIterator[bytes]:
    yield b"Sentence 1."


async def test_the_bytes_of_a_version_that_was_never_accepted_are_collected_and_its_documents_others_stay(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Housekeeping, tmp_path: Path
) -> None:
    ref = await a_document(engine, await a_home(engine))
    orphan, under_way = IngestionId(new_id()), IngestionId(new_id())
    long_ago = (now() - 2 * LONG_AGO).timestamp()
    for version in (ref.ingestion_id, orphan, under_way):
        await blobs.put(source_key(ref.document_id, version), some_bytes())
        if version != under_way:
            os.utime(tmp_path / "blobs" / ingestion_prefix(ref.document_id, version), (long_ago, long_ago))
    assert await run(steps.expire) == 1
    left = {name async for name, _ in blobs.folders(document_prefix(ref.document_id))}
    assert left == {str(ref.ingestion_id), str(under_way)}


@pytest.mark.parametrize(
    ("version", "status", "document", "answers", "kept"),
    [
        ("older", "retired", "ready", True, False),
        ("older", "cancelled", "processing", False, False),
        ("older", "failed", "ready", True, False),
        ("newest", "failed", "ready", True, False),
        ("newest", "cancelled", "cancelled", False, True),
        ("newest", "failed", "failed", False, True),
        ("newest", "running", "processing", True, True),
        ("newest", "published", "ready", True, True),
    ],
)
async def test_what_is_left_of_a_version_goes_when_it_can_neither_answer_nor_be_retried(
    engine: AsyncEngine, blobs: FolderBlobStore, steps: Housekeeping, tmp_path: Path,
    version: str, status: str, document: str, answers: bool, kept: bool,
) -> None:  # fmt: skip
    ref = await a_document(engine, await a_home(engine), status=document, ingestion=status, chunks=3)
    other = new_id() if status != "published" else ref.ingestion_id
    shown = {"current_ingestion_id": new_id()} if version == "older" else {}
    async with engine.begin() as connection:
        await connection.execute(
            update(tables.documents).values(active_ingestion_id=other if answers else None, **shown)
        )
        await connection.execute(update(tables.ingestions).values(stored_chunks=3, updated_at=now() - 2 * LONG_AGO))
    await blobs.put(source_key(ref.document_id, ref.ingestion_id), some_bytes())
    long_ago = (now() - 2 * LONG_AGO).timestamp()
    os.utime(tmp_path / "blobs" / ingestion_prefix(ref.document_id, ref.ingestion_id), (long_ago, long_ago))
    assert await run(steps.expire) == (0 if kept else 4)
    assert await count(engine, tables.chunks) == (3 if kept else 0)
    assert [name async for name, _ in blobs.folders("documents/")] == ([str(ref.document_id)] if kept else [])


async def test_what_a_killed_upload_left_is_dropped_and_one_that_goes_on_is_not(
    steps: Housekeeping, tmp_path: Path
) -> None:
    folder = tmp_path / "blobs" / ".unfinished"
    folder.mkdir(parents=True)
    long_ago = (now() - 2 * LONG_AGO).timestamp()
    for name in ("killed", "going_on"):
        (folder / name).write_bytes(b"half of it")
    os.utime(folder / "killed", (long_ago, long_ago))
    assert await run(steps.expire) == 1
    assert [path.name for path in folder.iterdir()] == ["going_on"]


# Crawls


async def test_a_crawl_that_a_crash_left_pending_is_started(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    home = await a_home(engine)
    left = await a_crawl(engine, home, updated_at=now() - LONG_AGO)
    young = await a_crawl(engine, home)
    assert await run(steps.sweep_pending) == 1
    assert await is_open(client, runs.crawl_run(left.crawl_id))
    assert not await is_open(client, runs.crawl_run(young.crawl_id))


@pytest.mark.parametrize(("cancelled", "end"), [(False, ("failed", "workflow_lost")), (True, ("cancelled", None))])
async def test_a_crawl_without_a_run_is_closed_and_one_with_a_run_is_left_alone(
    engine: AsyncEngine, client: Client, steps: Housekeeping, cancelled: bool, end: tuple[str, str | None]
) -> None:
    home = await a_home(engine)
    wish: dict[str, Any] = {"cancel_requested_at": now() if cancelled else None}
    lost = await a_crawl(engine, home, status="running", updated_at=now() - LONG_AGO, **wish)
    running = await a_crawl(engine, home, status="running", updated_at=now() - LONG_AGO)
    handle = await an_open_run(client, runs.crawl_run(running.crawl_id))
    assert await run(steps.close_orphans) == 1
    row = await row_of(engine, tables.crawls, lost.crawl_id)
    assert ((row.status, row.error_code), row.finished_at is not None) == (end, True)
    assert (await row_of(engine, tables.crawls, running.crawl_id)).status == "running"
    await handle.terminate()


async def test_a_crawls_cancel_that_got_lost_is_sent_again(
    engine: AsyncEngine, client: Client, steps: Housekeeping
) -> None:
    home = await a_home(engine)
    ref = await a_crawl(engine, home, status="running", cancel_requested_at=now() - LONG_AGO)
    handle = await an_open_run(client, runs.crawl_run(ref.crawl_id))
    await run(steps.sweep_pending)
    history = await handle.fetch_history()
    assert any(event.HasField("workflow_execution_cancel_requested_event_attributes") for event in history.events)
    await handle.terminate()
