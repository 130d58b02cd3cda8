"""Packs: each document of one is published once and whole, whatever crashes, and whoever takes one out of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncTransaction

from activities.flight import FlightRecorder
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import deletions, document_requests, import_items, import_requests, imports, tables, uploads
from adapters.postgres.engine import transaction
from adapters.postgres.import_items import Entry
from adapters.postgres.ingestions import begin, extracted
from adapters.postgres.uploads import Upload
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import is_open
from domain import runs
from domain.blobs import import_prefix, pages_key
from domain.documents import Format, IngestionRef, SourceType
from domain.errors import ProviderRateLimited
from domain.ids import IngestionId
from domain.imports import Refusal, Taken
from domain.ports import Embeddings, ExtractedText
from domain.steps import Claimed, EmbedPack, EndImport, ImportSettled
from tests.activities.ingestion_steps import Crash
from tests.activities.pack_steps import BATCH, LineExtractor, PackBench, large
from tests.fakes import WordEmbedder
from tests.rows import a_home, count
from tests.servers import TemporalServer

SECOND_PAGE = "The second page says more of it, and is the same in all of them, word for word."
TEXTS = [
    f"Note {n} speaks of topic{n}, and has a good deal more to say of it than that.\n{SECOND_PAGE}" for n in range(7)
]


class HookedEmbedder(WordEmbedder):
    """Does something while a call is under way."""

    def __init__(self) -> None:
        super().__init__(batch_size=BATCH)
        self.during: Callable[[int], Awaitable[None]] | None = None

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        found = await super().embed_documents(texts)
        if self.during is not None:
            await self.during(self.calls)
        return found


@pytest.fixture
async def bench(engine: AsyncEngine, tmp_path: Path, dev_server: TemporalServer) -> PackBench:
    client = await dev_server.client()
    await ensure_search_attributes(client)
    home, store = await a_home(engine), FolderBlobStore(tmp_path / "blobs")
    return PackBench(engine, store, client, home, HookedEmbedder(), LineExtractor())


@pytest.fixture
def crash_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[bool]]:
    """Run a step in a process that dies right after its n-th commit; false where it ended before."""

    async def run(commits: int, step: Awaitable[Any]) -> bool:
        left = commits
        leave = AsyncTransaction.__aexit__

        async def leave_or_die(transaction: AsyncTransaction, kind: Any, error: Any, trace: Any) -> None:
            nonlocal left
            if left <= 0 and kind is None:
                await transaction.rollback()
                raise Crash
            await leave(transaction, kind, error, trace)
            left -= kind is None
            if left == 0:
                raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(AsyncTransaction, "__aexit__", leave_or_die)
            try:
                await step
            except Crash:
                return True
            finally:
                lanes = [task for task in asyncio.all_tasks() if "lane" in repr(task.get_coro())]
                await asyncio.gather(*lanes, return_exceptions=True)
            return False

    return run


async def cancel(bench: PackBench, entry: Entry) -> None:
    async with transaction(bench.engine) as connection:
        asked = await document_requests.cancel(connection, bench.home.owner_id, entry.document_id, now=now())
    assert asked.cancel_run is None, "a packed document has no run that could be told"


async def test_a_pack_is_published_with_calls_that_are_shared(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    assert await bench.claim() == Claimed(documents=7, left=0)
    planned_ = await bench.read()
    assert (planned_.documents, planned_.chunks, planned_.released) == (7, 14, 0)
    done = await bench.embed(planned_)
    assert (done.documents, done.released) == (7, 0)
    assert done.model_calls == bench.embedder.calls == 2, "8 distinct texts by calls of 4"
    await bench.whole(entries)
    for entry in entries:
        row, (reading, embedding) = await bench.ingestion(entry), await bench.steps(entry)
        assert row.model_calls == row.model_calls_needed >= 1
        assert (reading.step, reading.attempts, embedding.step, embedding.attempts) == (
            "extract_pack", 1, "embed_pack", 1,
        )  # fmt: skip
        assert embedding.model_calls == row.model_calls
        assert ((await bench.document(entry)).page_count, (await bench.document(entry)).encoding) == (2, "utf-8")
    assert await bench.run(bench.imports.settle, bench.ref) == ImportSettled(done=True)
    assert (await bench.row()).status == "complete"
    assert (await bench.blobs.delete_prefix(import_prefix(bench.ref.import_id))).blobs == 0, "plans were left behind"


async def test_a_packed_document_of_a_format_without_pages_shows_none(bench: PackBench) -> None:
    (entry,) = await bench.accept(TEXTS[0])
    await bench.claim()
    planned_ = await bench.read()
    async with transaction(bench.engine) as connection:
        await connection.execute(update(tables.ingestions).values(format="docx"))
    await bench.embed(planned_)
    assert ((await bench.document(entry)).status, (await bench.document(entry)).page_count) == ("ready", None)


@pytest.mark.parametrize("commits", range(1, 10))
async def test_a_crash_after_any_commit_loses_and_doubles_nothing(
    bench: PackBench, crash_after: Callable[..., Awaitable[bool]], commits: int
) -> None:
    """Each step dies once, after its n-th commit if it has so many, and is tried again as Temporal does."""
    entries = await bench.accept(*TEXTS)
    crashes = int(await crash_after(commits, bench.claim()))
    assert (await bench.claim(attempt=2)).documents == 7
    crashes += await crash_after(commits, bench.read())
    planned_ = await bench.read(attempt=2)
    crashes += await crash_after(commits, bench.embed(planned_))
    stored = sum([await bench.chunks(entry) for entry in entries])
    calls = bench.embedder.calls
    again = await bench.embed(planned_, attempt=2)
    assert crashes >= (1 if commits <= 6 else 0)
    await bench.whole(entries)
    if stored == 14:
        assert (again.model_calls, bench.embedder.calls) == (0, calls), "a stored batch was paid for again"
    assert await count(bench.engine, tables.chunks) == 14


async def test_claiming_again_after_a_lost_result_finds_the_same_pack(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    await bench.claim(1)
    assert await bench.claim(1, attempt=2) == Claimed(documents=7, left=0)
    assert {(await bench.ingestion(entry)).pack for entry in entries} == {1}
    assert (await bench.claim(2)).documents == 0


async def test_what_cannot_be_read_goes_on_alone_and_the_others_are_published(bench: PackBench) -> None:
    entries = await bench.accept(TEXTS[0], "corrupt", TEXTS[1], "a scan", "deadly", f"{SECOND_PAGE}\n" * 600, TEXTS[2])
    await bench.claim()
    planned_ = await bench.read()
    assert (planned_.documents, planned_.released) == (3, 4)
    await bench.embed(planned_)
    assert await bench.statuses(entries) == ["ready", "pending", "ready", "pending", "pending", "pending", "ready"]
    for entry in (entries[1], *entries[3:6]):
        row = await bench.ingestion(entry)
        assert (row.import_id, row.pack, row.status, row.epoch) == (None, None, "pending", 2)
        assert (await bench.document(entry)).import_id == bench.ref.import_id, "it still counts as the import's"
        assert await is_open(bench.temporal, runs.ingestion_run(entry.document_id))
    settled = await bench.run(bench.imports.settle, bench.ref)
    assert settled == ImportSettled(done=False, packable=0, under_way=4)


async def test_a_large_document_goes_on_alone(bench: PackBench) -> None:
    entries = await bench.accept("a large one", size=large())
    assert await bench.claim() == Claimed(documents=0, left=0)
    assert (await bench.ingestion(entries[0])).import_id is None
    assert await is_open(bench.temporal, runs.ingestion_run(entries[0].document_id))


@pytest.mark.parametrize("moment", ["waiting", "claimed", "read", "embedding"])
async def test_a_document_that_is_cancelled_leaves_its_pack_and_no_chunk_behind(bench: PackBench, moment: str) -> None:
    entries = await bench.accept(*TEXTS)
    out, others = entries[2], [*entries[:2], *entries[3:]]
    if moment == "waiting":
        await cancel(bench, out)
    await bench.claim()
    if moment == "claimed":
        await cancel(bench, out)
    planned_ = await bench.read()
    if moment == "read":
        await cancel(bench, out)
    if moment == "embedding":

        async def during(call: int) -> None:
            if call == 1:
                await cancel(bench, out)

        bench.embedder.during = during  # type: ignore[attr-defined]  # the hooked one
    await bench.embed(planned_)
    await bench.whole(others)
    document, row = await bench.document(out), await bench.ingestion(out)
    assert (document.status, row.status, row.stored_chunks) == ("cancelled", "cancelled", 0)
    assert await bench.chunks(out) == 0
    assert await bench.run(bench.imports.settle, bench.ref) == ImportSettled(done=True)


async def test_a_document_that_is_deleted_while_its_pack_is_embedded_leaves_nothing(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    out = entries[2]
    deletion = bench.home.deletion.model_copy(update={"document_id": out.document_id})

    async def during(call: int) -> None:
        if call > 1:
            return
        async with transaction(bench.engine) as connection:
            await deletions.fence_documents(connection, [out.document_id], now=now())
        async with transaction(bench.engine) as connection:
            await deletions.delete_chunks(connection, deletion, [out.document_id], limit=100)
            await connection.execute(tables.documents.delete().where(tables.documents.c.id == out.document_id))

    bench.embedder.during = during  # type: ignore[attr-defined]  # the hooked one
    await bench.claim()
    await bench.embed(await bench.read())
    await bench.whole([*entries[:2], *entries[3:]])
    assert await bench.chunks(out) == 0
    assert await bench.document(out) is None


async def test_an_import_ends_although_documents_of_it_are_being_deleted(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    await bench.claim()
    async with transaction(bench.engine) as connection:
        going = tables.documents.c.id.in_([entry.document_id for entry in entries[:3]])
        await connection.execute(update(tables.documents).where(going).values(status="deleting"))
    async with asyncio.timeout(60):
        await bench.run(
            bench.imports.end, EndImport(ref=bench.ref, cancelled=True, code="cancelled", message="Cancelled.")
        )
    assert await bench.statuses(entries) == ["deleting"] * 3 + ["cancelled"] * 4
    assert (await bench.row()).status == "cancelled"


async def test_a_new_version_takes_a_document_out_of_its_pack(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    await bench.claim()
    planned_ = await bench.read()
    upload = Upload(IngestionId(new_id()), "n.txt", SourceType.FILE, Format.TEXT, "text/plain", 3, "other bytes")
    async with transaction(bench.engine) as connection:
        accepted = await uploads.replace(connection, bench.home.owner_id, entries[0].document_id, upload)
    assert accepted.superseded_run is None
    assert accepted.new is not None
    await bench.embed(planned_)
    await bench.whole(entries[1:])
    assert (await bench.ingestion(entries[0])).status == "cancelled"
    assert await bench.chunks(entries[0]) == 0
    assert (await bench.document(entries[0])).status == "pending"


async def test_two_attempts_at_once_publish_each_document_once(bench: PackBench) -> None:
    """A worker that was thought dead goes on beside the one that took over."""
    entries = await bench.accept(*TEXTS)
    await bench.claim()
    planned_ = await bench.read()
    done = await asyncio.gather(bench.embed(planned_), bench.embed(planned_, attempt=2))
    assert sum(each.documents for each in done) == 7
    await bench.whole(entries)
    assert await count(bench.engine, tables.chunks) == 14


async def test_a_late_attempt_of_a_pack_that_was_closed_writes_nothing(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    await bench.claim()
    planned_ = await bench.read()
    lost = EndImport(ref=bench.ref, cancelled=False, code="workflow_lost", message="Stopped from outside.")

    closed = asyncio.Event()

    async def during(call: int) -> None:
        if call == 1:
            await bench.run(bench.imports.end, lost)
            closed.set()
        await closed.wait()

    bench.embedder.during = during  # type: ignore[attr-defined]  # the hooked one
    done = await bench.embed(planned_)
    assert (done.documents, await count(bench.engine, tables.chunks)) == (0, 0)
    assert set(await bench.statuses(entries)) == {"failed"}
    assert {(await bench.document(entry)).error_code for entry in entries} == {"workflow_lost"}
    assert (await bench.row()).status == "failed"


async def test_a_provider_that_fails_is_in_every_documents_flight_record(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS[:2])
    await bench.claim()
    planned_ = await bench.read()
    bench.embedder.fail = [ProviderRateLimited("The provider asks for a pause.")]
    recorder = FlightRecorder(bench.engine, now)

    async def failing(given: EmbedPack) -> None:
        try:
            await bench.embedding.embed_pack(given)
        except ProviderRateLimited as error:
            await recorder.failed(given, error)

    failing.__temporal_activity_definition = getattr(  # type: ignore[attr-defined]  # as the decorator does
        bench.embedding.embed_pack, "__temporal_activity_definition"
    )
    await bench.run(failing, EmbedPack(ref=bench.ref, pack=1, plan=planned_.plan))
    for entry in entries:
        failed = (await bench.steps(entry))[-1]
        assert (failed.step, failed.state, failed.error_code) == ("embed_pack", "failed", "provider_rate_limited")
    await bench.embed(planned_, attempt=2)
    assert [(s.state, s.attempts) for s in (await bench.steps(entries[0]))[-1:]] == [("completed", 2)]
    await bench.whole(entries)


async def test_a_run_of_its_own_pays_for_nothing_that_the_pack_has_stored(bench: PackBench) -> None:
    """The plan of a document is the same in a pack and alone, so that what is stored of it stays."""
    text = "\n".join(f"Page {number} speaks of topic{number} at some length." for number in range(9))
    (entry,) = await bench.accept(text)
    await bench.claim()
    planned_ = await bench.read()
    calls = bench.embedder
    assert planned_.chunks > BATCH
    original = calls.embed_documents

    async def first_only(texts: Sequence[str]) -> Embeddings:
        if calls.calls >= 1:
            raise ProviderRateLimited("The provider asks for a pause.")
        return await original(texts)

    calls.embed_documents = first_only  # type: ignore[method-assign]  # one call, then none
    with pytest.raises(ProviderRateLimited):
        await bench.embed(planned_)
    stored = await bench.chunks(entry)
    assert 0 < stored < planned_.chunks
    await bench.run(bench.imports.release, bench.pack())
    row = await bench.ingestion(entry)
    ref = IngestionRef(
        owner_id=bench.home.owner_id, bot_id=bench.home.bot_id, document_id=entry.document_id,
        ingestion_id=entry.ingestion_id, epoch=row.epoch,
    )  # fmt: skip
    assert (row.pages, row.import_id) == (None, None)
    async with transaction(bench.engine) as connection:
        await begin(connection, ref, run_id="run-1", now=now())
        await extracted(connection, ref, ExtractedText(pages=9, characters=len(text)), now=now())
    pages = "".join(f'{{"page": {n}, "text": "{page}"}}\n' for n, page in enumerate(text.split("\n"), start=1))

    async def content() -> Any:
        yield pages.encode()

    await bench.blobs.put(pages_key(ref.document_id, ref.ingestion_id), content())
    await bench.run(bench.chunking.chunk, ref)
    assert (await bench.ingestion(entry)).stored_chunks == stored == await bench.chunks(entry)


# What an import's run does at its end


async def test_cancelling_closes_what_is_not_ready_and_keeps_what_is(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS, "corrupt")
    await bench.claim()
    planned_ = await bench.read()
    async with transaction(bench.engine) as connection:
        await document_requests.cancel(connection, bench.home.owner_id, entries[0].document_id, now=now())
    await bench.embed(planned_)
    end = EndImport(ref=bench.ref, cancelled=True, code="cancelled", message="Cancelled.")
    await bench.run(bench.imports.end, end)
    await bench.run(bench.imports.end, end, attempt=2)
    assert await bench.statuses(entries) == ["cancelled", *["ready"] * 6, "cancelled"]
    assert (await bench.row()).status == "cancelled"


async def test_retry_failed_takes_up_all_that_is_not_ready_and_pays_for_the_rest_only(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    await bench.claim()
    planned_ = await bench.read()
    original = bench.embedder.embed_documents

    async def first_only(texts: Sequence[str]) -> Embeddings:
        if bench.embedder.calls >= 1:
            raise ProviderRateLimited("The provider asks for a pause.")
        return await original(texts)

    bench.embedder.embed_documents = first_only  # type: ignore[method-assign]  # one call, then none
    with pytest.raises(ProviderRateLimited):
        await bench.embed(planned_)
    await bench.run(
        bench.imports.end,
        EndImport(ref=bench.ref, cancelled=False, code="provider_auth", message="The key is refused."),
    )
    failed = [entry for entry in entries if (await bench.document(entry)).status == "failed"]
    assert failed
    bench.embedder.embed_documents = original  # type: ignore[method-assign]  # it answers again
    async with transaction(bench.engine) as connection:
        bench.ref = await import_requests.retry_failed(connection, bench.home.owner_id, bench.ref.import_id, now=now())
    assert bench.ref.epoch == 2
    begun = await bench.run(bench.imports.begin, bench.ref)
    assert (begun.packs, begun.closed) == (1, False)
    assert (await bench.claim(2)).documents == len(failed)
    await bench.embed(await bench.read(2), 2)
    await bench.whole(entries)
    assert bench.embedder.calls == 2, "what was stored is not paid for again"
    assert (await bench.run(bench.imports.settle, bench.ref)).done


async def test_documents_that_a_reset_of_the_run_forgot_wait_again(bench: PackBench) -> None:
    entries = await bench.accept(*TEXTS)
    await bench.claim(1)
    settled = await bench.run(bench.imports.settle, bench.ref)
    assert settled == ImportSettled(done=False, packable=7, under_way=0)
    assert {(await bench.ingestion(entry)).epoch for entry in entries} == {2}
    await bench.claim(2)
    await bench.embed(await bench.read(2), 2)
    await bench.whole(entries)


# Accepting


async def test_the_same_bytes_are_one_document_whether_they_come_twice_or_were_there(bench: PackBench) -> None:
    first = await bench.accept("the same", "another", "the same")
    async with bench.engine.connect() as connection:
        items = (await connection.execute(tables.import_items.select().order_by("position"))).all()
    assert [item.outcome for item in items] == ["accepted", "accepted", "duplicate"]
    assert items[2].document_id == first[0].document_id
    bench.__post_init__()  # another import
    again = [
        Entry.at(0, Taken("a.txt", 8, "sha of the same", Format.TEXT, "text/plain")),
        Entry.at(1, Refusal("b.png", 9, "unsupported_format", "The file is an image.")),
        Entry.at(2, Taken("c.txt", 8, "sha of a third", Format.TEXT, "text/plain")),
    ]
    async with transaction(bench.engine) as connection:
        await imports.add(connection, bench.ref, name="Again", archive=False)
        needless = await import_items.register(connection, bench.ref, again)
        counted = (await imports.counts(connection, [bench.ref.import_id], now=now()))[bench.ref.import_id]
    assert needless == again[:2]
    assert counted.items == {"duplicate": 1, "refused": 1, "accepted": 1}
    assert counted.documents == {"pending": 1}
    assert await count(bench.engine, tables.documents) == 3


async def test_what_an_import_brings_as_well_does_not_go_with_the_file_that_it_came_as(bench: PackBench) -> None:
    entries = await bench.accept("the same", "another")
    async with transaction(bench.engine) as connection:
        await connection.execute(update(tables.documents).values(of_files=True))
    bench.__post_init__()  # another import
    again = [Entry.at(0, Taken("a.txt", 8, "sha of the same", Format.TEXT, "text/plain"))]
    async with transaction(bench.engine) as connection:
        await imports.add(connection, bench.ref, name="Again", archive=False)
        await import_items.register(connection, bench.ref, again)
    assert [(await bench.document(entry)).of_files for entry in entries] == [False, True]


async def test_two_imports_of_the_same_files_at_once_make_each_document_once(bench: PackBench) -> None:
    async def one() -> list[Entry]:
        ref = bench.ref.model_copy(update={"import_id": new_id()})
        entries = [Entry.at(n, Taken(f"{n}.txt", 8, f"sha {n}", Format.TEXT, "text/plain")) for n in range(50)]
        async with transaction(bench.engine) as connection:
            await imports.add(connection, ref, name="Twin", archive=False)
            return await import_items.register(connection, ref, entries)

    needless = await asyncio.gather(one(), one(), one())
    assert sum(map(len, needless)) == 100
    assert await count(bench.engine, tables.documents) == 50 == await count(bench.engine, tables.document_contents)
