"""Packs beside whoever ends, cancels or deletes at the same moment: what was decided first stands."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.unpacking import Unpacking
from adapters.archives import ArchiveLimits
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.postgres import document_requests, import_requests, imports, ingestions, pack_chunks, packs, tables
from adapters.postgres.engine import transaction
from adapters.postgres.import_items import Entry
from adapters.postgres.pack_chunks import Publishable
from adapters.postgres.packs import Packed
from adapters.temporal.client import ensure_search_attributes
from domain.blobs import archive_key, document_prefix, import_prefix
from domain.documents import IngestionRef
from domain.errors import IngestionClosed
from domain.steps import Closed, CloseIngestion, EndImport, ImportRef
from tests.activities.pack_steps import BATCH, LineExtractor, PackBench, large
from tests.fakes import WordEmbedder
from tests.rows import a_home
from tests.servers import TemporalServer

TEXT = "A note that speaks of one thing, and has a good deal more to say of it than that."
_BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@pytest.fixture
async def bench(engine: AsyncEngine, tmp_path: Path, dev_server: TemporalServer) -> PackBench:
    client = await dev_server.client()
    await ensure_search_attributes(client)
    home, store = await a_home(engine), FolderBlobStore(tmp_path / "blobs")
    return PackBench(engine, store, client, home, WordEmbedder(batch_size=BATCH), LineExtractor())


async def somebody_waits(bench: PackBench) -> None:
    """Return when a statement waits for another's lock."""
    async with asyncio.timeout(60), bench.engine.connect() as connection:
        while not await connection.scalar(_BLOCKED):
            await connection.rollback()


async def unpublish(bench: PackBench, entry: Entry) -> Publishable:
    """Bring a document back to where all of its chunks are stored, and publishing is the next thing."""
    row = await bench.ingestion(entry)
    async with transaction(bench.engine) as connection:
        mine = tables.ingestions.c.id == entry.ingestion_id
        await connection.execute(update(tables.ingestions).where(mine).values(status="running"))
        shown = {"status": "processing", "active_ingestion_id": None}
        await connection.execute(update(tables.documents).values(shown))
    ref = IngestionRef(
        owner_id=bench.home.owner_id, bot_id=bench.home.bot_id,
        document_id=entry.document_id, ingestion_id=entry.ingestion_id, epoch=row.epoch,
    )  # fmt: skip
    return Publishable(ref, row.pages, row.characters, None)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_document_that_is_published_while_its_import_ends_stays_ready_and_whole(
    bench: PackBench, cancelled: bool
) -> None:
    (entry,) = await bench.accept(TEXT)
    await bench.claim()
    await bench.embed(await bench.read())
    complete = await unpublish(bench, entry)
    how = EndImport(ref=bench.ref, cancelled=cancelled, code="stopped", message="Stopped.")
    async with transaction(bench.engine) as late:
        assert await pack_chunks.publish(late, bench.pack(), [complete], now=now()) == [entry.ingestion_id]
        ending = asyncio.create_task(bench.run(bench.imports.end, how))
        await somebody_waits(bench)
    await ending
    await bench.whole([entry])


async def test_a_document_that_is_cancelled_as_a_pack_is_chosen_stays_cancelled(
    bench: PackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is made by what its statement saw; a row that another changed since is not taken up."""
    first, second = await bench.accept(TEXT, f"{TEXT} It differs.")
    candidates = packs._candidates

    async def chosen(*given: Any) -> list[Row[Any]]:
        rows = await candidates(*given)
        async with transaction(bench.engine) as connection:
            await connection.execute(
                update(tables.ingestions).where(tables.ingestions.c.id == first.ingestion_id).values(status="cancelled")
            )
        return rows

    monkeypatch.setattr(packs, "_candidates", chosen)
    claimed = await bench.claim()
    assert claimed.documents == 1
    assert await bench.statuses([first, second]) == ["pending", "processing"]


class LateUnpacking(Unpacking):
    """Its import ends before it has written down that all is unpacked, as where its run was terminated."""

    bench: PackBench

    async def _unpack(self, ref: ImportRef, folder: Path, first: int) -> int:
        items = await super()._unpack(ref, folder, first)
        how = EndImport(ref=ref, cancelled=False, code="workflow_lost", message="Stopped.")
        await self.bench.run(self.bench.imports.end, how)
        return items


async def test_an_import_that_ended_while_its_last_file_was_unpacked_stays_ended_and_keeps_its_archive(
    bench: PackBench,
) -> None:
    async def archive() -> AsyncIterator[bytes]:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            file.writestr("note.txt", TEXT)
        yield content.getvalue()

    await bench.blobs.put(archive_key(bench.ref.import_id), archive())
    async with transaction(bench.engine) as connection:
        await imports.add(connection, bench.ref, name="Import", archive=True)
    await bench.run(bench.imports.begin, bench.ref)
    late = LateUnpacking(bench.engine, bench.blobs, ArchiveLimits(files=10, file_bytes=10_000, total_bytes=10_000), now)
    late.bench = bench
    with pytest.raises(IngestionClosed):
        await bench.run(late.unpack, bench.ref)
    assert (await bench.row()).status == "failed"
    assert [name async for name, _ in bench.blobs.folders(import_prefix(bench.ref.import_id))] == ["upload"]


async def test_a_run_that_hears_late_of_its_cancel_does_not_take_what_an_import_retries(bench: PackBench) -> None:
    (entry,) = await bench.accept(TEXT, size=large())
    assert (await bench.claim()).documents == 0
    row = await bench.ingestion(entry)
    ref = IngestionRef(
        owner_id=bench.home.owner_id, bot_id=bench.home.bot_id,
        document_id=entry.document_id, ingestion_id=entry.ingestion_id, epoch=row.epoch,
    )  # fmt: skip
    await bench.run(bench.imports.end, EndImport(ref=bench.ref, cancelled=True, code="cancelled", message="Cancelled."))
    assert await bench.statuses([entry]) == ["cancelled"]
    async with transaction(bench.engine) as connection:
        await import_requests.retry_failed(connection, bench.home.owner_id, bench.ref.import_id, now=now())
        told = CloseIngestion(ref=ref, cancelled=True, code="cancelled", message="Cancelled.")
        assert await ingestions.close(connection, told, now=now()) == Closed(successor=None)


async def test_a_document_that_is_deleted_before_it_is_read_leaves_the_others_in_their_pack(
    bench: PackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *others = await bench.accept(*(f"{TEXT} It is number {n}." for n in range(3)))
    await bench.claim()
    seen = packs.documents_of

    async def deleted_since(*given: Any) -> list[Packed]:
        found = await seen(*given)
        async with transaction(bench.engine) as connection:
            await document_requests.delete(connection, bench.home.owner_id, gone.document_id, now=now())
        await bench.blobs.delete_prefix(document_prefix(gone.document_id))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(packs, "documents_of", deleted_since)
        planned = await bench.read()
    assert (planned.documents, planned.released) == (2, 0)
    await bench.embed(planned)
    await bench.whole(others)
