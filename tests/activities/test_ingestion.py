"""The short steps of an ingestion, each run twice, and with a crash after its commit."""

import pytest
from sqlalchemy import select, update

from adapters.postgres import tables
from domain.documents import IngestionRef
from domain.errors import IncompleteIngestion, IngestionClosed
from domain.steps import Closed, CloseIngestion, EmbedShard, ParkIngestion
from tests.activities.ingestion_steps import Bench, CrashAfter
from tests.rows import a_new_version, count


def ended(ref: IngestionRef, *, cancelled: bool = False) -> CloseIngestion:
    return CloseIngestion(ref=ref, cancelled=cancelled, code="no_text", message="There is no text.")


async def a_full_ingestion(bench: Bench, ref: IngestionRef | None = None) -> None:
    """Everything but the publishing."""
    bench.ref = ref or bench.ref
    await bench.until_planned()
    await bench.run(bench.embedding.embed, EmbedShard(ref=bench.ref, shard=0))


async def test_beginning_twice_leaves_what_beginning_once_leaves(bench: Bench, crash_after: CrashAfter) -> None:
    await crash_after(1, bench.ingestion.begin, bench.ref)
    first = await bench.row()
    await bench.run(bench.ingestion.begin, bench.ref, attempt=2)
    row, document = await bench.row(), await bench.document()
    assert (row.status, row.run_id, row.started_at) == ("running", "run-1", first.started_at)
    assert (document.status, document.stage) == ("processing", "queued")


async def test_an_ingestion_of_an_earlier_epoch_is_not_begun(bench: Bench) -> None:
    await bench.set(epoch=2)
    with pytest.raises(IngestionClosed):
        await bench.run(bench.ingestion.begin, bench.ref)
    assert (await bench.document()).status == "pending"


@pytest.mark.parametrize("status", ["published", "retired", "failed", "cancelled"])
async def test_an_ingestion_that_ended_is_not_begun(bench: Bench, status: str) -> None:
    await bench.set(status=status)
    with pytest.raises(IngestionClosed):
        await bench.run(bench.ingestion.begin, bench.ref)


async def test_nothing_touches_a_document_that_is_being_deleted(bench: Bench) -> None:
    async with bench.engine.begin() as connection:
        await connection.execute(update(tables.documents).values(status="deleting"))
    with pytest.raises(IngestionClosed):
        await bench.run(bench.ingestion.begin, bench.ref)
    assert (await bench.document()).status == "deleting"


async def test_publishing_twice_is_publishing_once(bench: Bench, crash_after: CrashAfter) -> None:
    await a_full_ingestion(bench)
    await crash_after(1, bench.ingestion.publish, bench.ref)
    assert bench.work()  # the crash came before the blobs were cleared away
    assert await bench.run(bench.ingestion.publish, bench.ref, attempt=2) == Closed(published=True)
    document, row = await bench.document(), await bench.row()
    assert (document.status, document.stage, document.active_ingestion_id) == ("ready", None, bench.ref.ingestion_id)
    assert document.chunk_count == document.chunks_done == await bench.chunks() == row.planned_chunks
    assert document.embedding_model == "fake/words"
    assert row.status == "published"
    assert bench.work() == []


@pytest.mark.parametrize(("kind", "pages"), [("pdf", 12), ("docx", None), ("text", None)])
async def test_only_formats_with_pages_show_how_many(bench: Bench, kind: str, pages: int | None) -> None:
    await a_full_ingestion(bench)
    await bench.set(format=kind)
    await bench.run(bench.ingestion.publish, bench.ref)
    assert ((await bench.document()).page_count, (await bench.row()).pages) == (pages, 12)


async def test_a_document_with_a_chunk_missing_is_not_published(bench: Bench) -> None:
    await a_full_ingestion(bench)
    async with bench.engine.begin() as connection:
        await connection.execute(tables.chunks.delete().where(tables.chunks.c.ordinal == 1))
    with pytest.raises(IncompleteIngestion):
        await bench.run(bench.ingestion.publish, bench.ref)
    assert (await bench.document()).active_ingestion_id is None


async def test_a_new_version_takes_the_place_of_the_old_one_in_one_moment(bench: Bench) -> None:
    await a_full_ingestion(bench)
    await bench.run(bench.ingestion.publish, bench.ref)
    old, new = bench.ref, await a_new_version(bench.engine, bench.ref)
    await bench.put_source(new)
    bench.extractor.pages = ["Only one page now."]
    await a_full_ingestion(bench, new)
    assert (await bench.document()).active_ingestion_id == old.ingestion_id
    assert await count(bench.engine, tables.chunks, tables.chunks.c.ingestion_id == old.ingestion_id) > 0
    await bench.run(bench.ingestion.publish, new)
    assert (await bench.document()).active_ingestion_id == new.ingestion_id
    assert await count(bench.engine, tables.chunks) == 1
    async with bench.engine.connect() as connection:
        statuses = (await connection.execute(select(tables.ingestions.c.status).order_by("version"))).scalars().all()
    assert statuses == ["retired", "published"]


@pytest.mark.parametrize("commits", [1, 2, 3])
async def test_the_old_versions_chunks_go_wherever_a_crash_falls(
    bench: Bench, crash_after: CrashAfter, commits: int
) -> None:
    await a_full_ingestion(bench)
    await bench.run(bench.ingestion.publish, bench.ref)
    old, stored = bench.ref, await bench.chunks()
    new = await a_new_version(bench.engine, old)
    await bench.put_source(new)
    await a_full_ingestion(bench, new)
    await crash_after(commits, bench.ingestion.publish, new)
    assert (await bench.document()).active_ingestion_id == new.ingestion_id
    bench.ref = old
    left = stored - 3 * (commits - 1)
    assert await bench.chunks() == (await bench.row()).stored_chunks == left
    assert await bench.run(bench.ingestion.publish, new, attempt=2) == Closed(published=True)
    assert await bench.chunks() == (await bench.row()).stored_chunks == 0
    assert await count(bench.engine, tables.chunks) == (await bench.document()).chunk_count


async def test_a_version_that_was_superseded_is_not_published(bench: Bench) -> None:
    await a_full_ingestion(bench)
    new = await a_new_version(bench.engine, bench.ref)
    await bench.set(status="cancelled")
    with pytest.raises(IngestionClosed):
        await bench.run(bench.ingestion.publish, bench.ref)
    closed = await bench.run(bench.ingestion.close, ended(bench.ref, cancelled=True))
    assert closed == Closed(successor=new)
    assert (await bench.document()).current_ingestion_id == new.ingestion_id
    assert (await bench.document()).error_code is None


async def test_parking_twice_is_parking_once(bench: Bench, crash_after: CrashAfter) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    request = ParkIngestion(ref=bench.ref, code="no_text", message="There is no text.")
    await crash_after(1, bench.ingestion.park, request)
    await bench.run(bench.ingestion.park, request, attempt=2)
    document = await bench.document()
    assert (await bench.row()).status == "parked"
    assert (document.status, document.error_code, document.error_message) == (
        "needs_attention", "no_text", "There is no text.",
    )  # fmt: skip


async def test_a_parked_ingestion_can_be_begun_again_and_forgets_its_error(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    await bench.run(bench.ingestion.park, ParkIngestion(ref=bench.ref, code="no_text", message="No text."))
    await bench.run(bench.ingestion.begin, bench.ref)
    document = await bench.document()
    assert (document.status, document.error_code, (await bench.row()).error_code) == ("processing", None, None)


@pytest.mark.parametrize("status", ["running", "parked"])
async def test_a_run_that_was_reset_from_the_web_ui_goes_on_under_its_new_id(bench: Bench, status: str) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    if status == "parked":
        await bench.run(bench.ingestion.park, ParkIngestion(ref=bench.ref, code="no_text", message="No text."))
    await bench.set(run_id="the run before the reset")
    await bench.run(bench.extraction.extract, bench.ref)
    document, row = await bench.document(), await bench.row()
    assert (row.status, row.run_id, row.error_code) == ("running", "run-1", None)
    assert (document.status, document.stage, document.error_code) == ("processing", "chunking", None)


async def test_a_late_attempt_of_a_parked_run_does_not_take_it_up(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    await bench.run(bench.ingestion.park, ParkIngestion(ref=bench.ref, code="no_text", message="No text."))
    with pytest.raises(IngestionClosed):
        await bench.run(bench.extraction.extract, bench.ref)
    assert (await bench.document()).status == "needs_attention"


@pytest.mark.parametrize(("cancelled", "status"), [(True, "cancelled"), (False, "failed")])
async def test_closing_twice_is_closing_once(
    bench: Bench, crash_after: CrashAfter, cancelled: bool, status: str
) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    await crash_after(1, bench.ingestion.close, ended(bench.ref, cancelled=cancelled))
    assert await bench.run(bench.ingestion.close, ended(bench.ref), attempt=2) == Closed()
    document, row = await bench.document(), await bench.row()
    assert (document.status, document.stage, document.error_code) == (status, None, "no_text")
    assert row.status == status


async def test_closing_what_was_published_meanwhile_changes_nothing(bench: Bench) -> None:
    await a_full_ingestion(bench)
    await bench.run(bench.ingestion.publish, bench.ref)
    assert await bench.run(bench.ingestion.close, ended(bench.ref, cancelled=True)) == Closed(published=True)
    await bench.run(bench.ingestion.discard_chunks, bench.ref)
    await bench.run(bench.ingestion.discard_artifacts, bench.ref)
    assert (await bench.document()).status == "ready"
    assert await bench.chunks() > 0


async def test_a_new_version_that_fails_leaves_the_old_one_answering(bench: Bench) -> None:
    await a_full_ingestion(bench)
    await bench.run(bench.ingestion.publish, bench.ref)
    before = await bench.document()
    new = await a_new_version(bench.engine, bench.ref)
    await bench.run(bench.ingestion.begin, new)
    await bench.run(bench.ingestion.close, ended(new))
    document = await bench.document()
    assert (document.status, document.version, document.sha256) == ("ready", 1, before.sha256)
    assert (document.active_ingestion_id, document.error_code) == (bench.ref.ingestion_id, "no_text")


async def test_closing_a_run_that_a_later_one_replaced_hands_on_to_it(bench: Bench) -> None:
    await bench.set(epoch=2)
    later = bench.ref.model_copy(update={"epoch": 2})
    assert await bench.run(bench.ingestion.close, ended(bench.ref)) == Closed(successor=later)
    assert (await bench.row()).status == "pending"


async def test_a_document_that_is_gone_ends_quietly(bench: Bench) -> None:
    async with bench.engine.begin() as connection:
        await connection.execute(tables.documents.delete())
    assert await bench.run(bench.ingestion.close, ended(bench.ref)) == Closed()
    await bench.run(bench.ingestion.discard_chunks, bench.ref)
    await bench.run(bench.ingestion.discard_artifacts, bench.ref)


async def test_chunks_are_discarded_wherever_a_crash_falls(bench: Bench, crash_after: CrashAfter) -> None:
    await a_full_ingestion(bench)
    await bench.run(bench.ingestion.close, ended(bench.ref))
    stored = await bench.chunks()
    await crash_after(2, bench.ingestion.discard_chunks, bench.ref)
    assert await bench.chunks() == (await bench.row()).stored_chunks == stored - 6
    await bench.run(bench.ingestion.discard_chunks, bench.ref, attempt=2)
    await bench.run(bench.ingestion.discard_chunks, bench.ref, attempt=3)
    assert (await bench.chunks(), (await bench.row()).stored_chunks) == (0, 0)


@pytest.mark.parametrize("commits", [1, 2])
async def test_artifacts_are_forgotten_before_they_are_deleted(
    bench: Bench, crash_after: CrashAfter, commits: int
) -> None:
    await a_full_ingestion(bench)
    await bench.run(bench.ingestion.close, ended(bench.ref))
    await crash_after(commits, bench.ingestion.discard_artifacts, bench.ref)
    assert ((await bench.row()).pages, (await bench.row()).plan_digest) == (None, None)
    await bench.run(bench.ingestion.discard_artifacts, bench.ref, attempt=2)
    assert bench.work() == []


@pytest.mark.parametrize("values", [{"status": "running"}, {"epoch": 2, "status": "failed"}])
async def test_what_was_taken_up_again_is_not_discarded(bench: Bench, values: dict[str, object]) -> None:
    await a_full_ingestion(bench)
    await bench.set(**values)
    stored, work = await bench.chunks(), bench.work()
    await bench.run(bench.ingestion.discard_chunks, bench.ref)
    await bench.run(bench.ingestion.discard_artifacts, bench.ref)
    assert (await bench.chunks(), bench.work()) == (stored, work)
