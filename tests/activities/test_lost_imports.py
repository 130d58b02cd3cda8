"""Housekeeping and imports: what waits for a pack is left to its import, and an import without a run is put right."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.housekeeping import Housekeeping
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import tables
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import is_open, start_import
from domain import runs
from domain.steps import HousekeepingTick
from tests.activities.pack_steps import LineExtractor, PackBench
from tests.fakes import WordEmbedder
from tests.rows import a_home
from tests.servers import TemporalServer

TICK = HousekeepingTick(grace=timedelta(seconds=15))


@pytest.fixture
async def bench(engine: AsyncEngine, tmp_path: Path, dev_server: TemporalServer) -> PackBench:
    client = await dev_server.client()
    await ensure_search_attributes(client)
    store = FolderBlobStore(tmp_path / "blobs")
    return PackBench(engine, store, client, await a_home(engine), WordEmbedder(), LineExtractor())


async def tick(bench: PackBench) -> None:
    """A tick, an hour after everything that happened."""
    keeper = Housekeeping(bench.engine, bench.blobs, bench.temporal, lambda: now() + timedelta(hours=1))
    await ActivityEnvironment().run(keeper.sweep_pending, TICK)
    await ActivityEnvironment().run(keeper.close_orphans, TICK)


async def set_import(bench: PackBench, **values: object) -> None:
    async with bench.engine.begin() as connection:
        await connection.execute(
            update(tables.imports).where(tables.imports.c.id == bench.ref.import_id).values(values)
        )


def run_of(bench: PackBench) -> str:
    return runs.import_run(bench.ref.import_id)


async def test_an_import_whose_start_was_lost_is_started_and_its_documents_are_not(bench: PackBench) -> None:
    entries = await bench.accept("One.", "Two.")
    await set_import(bench, status="pending")
    await tick(bench)
    assert await is_open(bench.temporal, run_of(bench))
    for entry in entries:
        assert not await is_open(bench.temporal, runs.ingestion_run(entry.document_id))
    assert await bench.statuses(entries) == ["pending", "pending"]


async def test_an_import_that_runs_is_left_alone(bench: PackBench) -> None:
    entries = await bench.accept("One.", "Two.")
    await bench.claim()
    await start_import(bench.temporal, bench.ref)
    await tick(bench)
    assert await bench.statuses(entries) == ["processing", "processing"]
    assert (await bench.row()).status == "running"


async def test_an_import_whose_run_was_terminated_ends_and_says_so(bench: PackBench) -> None:
    entries = await bench.accept("One.", "Two.", "Three.")
    await bench.claim()
    await bench.embed(await bench.read())
    await start_import(bench.temporal, bench.ref)
    async with bench.engine.begin() as connection:
        await connection.execute(
            update(tables.documents).where(tables.documents.c.id == entries[2].document_id).values(status="processing")
        )
        await connection.execute(
            update(tables.ingestions).where(tables.ingestions.c.id == entries[2].ingestion_id).values(status="running")
        )
    await bench.temporal.get_workflow_handle(run_of(bench)).terminate()
    await tick(bench)
    assert await bench.statuses(entries) == ["ready", "ready", "failed"]
    row = await bench.row()
    assert (row.status, row.error_code) == ("failed", "workflow_lost")
    assert (await bench.document(entries[2])).error_code == "workflow_lost"


async def test_a_cancel_that_a_crash_swallowed_is_kept_although_the_run_is_gone(bench: PackBench) -> None:
    entries = await bench.accept("One.", "Two.")
    await bench.claim()
    await set_import(bench, cancel_requested_at=now(), run_id=str(new_id()))
    await tick(bench)
    assert await bench.statuses(entries) == ["cancelled", "cancelled"]
    assert (await bench.row()).status == "cancelled"


async def test_documents_whose_import_is_gone_get_runs_of_their_own(bench: PackBench) -> None:
    entries = await bench.accept("One.")
    await set_import(bench, status="complete")
    await tick(bench)
    row = await bench.ingestion(entries[0])
    assert (row.import_id, row.epoch, row.status) == (None, 2, "pending")
    assert await is_open(bench.temporal, runs.ingestion_run(entries[0].document_id))
