"""Indexes of large bots on the real Postgres: built beside writes, used when whole, never trusted half done."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.deletion import Deletion
from activities.housekeeping import Housekeeping
from activities.indexes import Indexes
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import indexes as rows
from adapters.postgres import keyword_segments, tables, vector_indexes
from adapters.postgres.search import search
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import is_open
from domain import indexes as sizes
from domain import runs
from domain.filters import EVERYTHING, DocumentFilter
from domain.ids import BotId, DocumentId
from domain.indexes import IndexState
from domain.ports import Vectors
from domain.retrieval import Hit, SearchMode
from domain.steps import CloseIndex, DeletionRef, HousekeepingTick, IndexPlanned, IndexRef, Swept
from tests.activities.turn_steps import load, retrieve
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import WordEmbedder
from tests.rows import count
from tests.servers import TemporalServer


class UnlikeEmbedder(WordEmbedder):
    """No two texts are as near to a third one."""

    def _embed(self, text: str) -> Vectors:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        vector = super()._embed(text) + np.random.default_rng(seed).standard_normal(self.width, np.float32) / 50
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


EMBEDDER = UnlikeEmbedder()
THRESHOLD = 100
WORDS = ["harbour", "lantern", "meadow", "copper", "violin", "granite", "orchard", "compass", "glacier", "saffron"]
QUESTIONS = (
    "the lantern of the harbour",
    "copper and granite, number 41",
    "which violin, saffron or compass",
    "7 and 113",
)


@pytest.fixture(autouse=True)
def everything_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few chunks there are."""
    monkeypatch.setattr("adapters.postgres.indexed_search.SCANNED_CHUNKS", 0)
    monkeypatch.setattr(sizes, "_EXACT_PER_HIT", 0)


@pytest.fixture
def steps(engine: AsyncEngine) -> Indexes:
    return Indexes(engine, now, threshold=THRESHOLD, memory_bytes=16 << 20)


@pytest.fixture
async def client(dev_server: TemporalServer) -> Client:
    client = await dev_server.client()
    await ensure_search_attributes(client)
    return client


@pytest.fixture
def deletion(engine: AsyncEngine, client: Client, tmp_path: Path) -> Deletion:
    return Deletion(engine, FolderBlobStore(tmp_path), client, now)


def texts(count: int, first: int = 0) -> list[str]:
    """No two of them have the same words."""
    return [
        f"The {WORDS[n % 10]} and the {WORDS[n // 10 % 10]}, number {n}, beside {WORDS[n * 7 % 10]} {n % 13}."
        for n in range(first, first + count)
    ]


async def a_large_bot(
    engine: AsyncEngine, *, documents: int = 4, chunks: int = 40
) -> tuple[IndexRef, list[DocumentId]]:
    owner, bot = await a_bot(engine, languages=["english"])
    found = [
        (await a_ready_document(engine, owner, bot, texts(chunks, chunks * n), EMBEDDER))[0] for n in range(documents)
    ]
    return IndexRef(owner_id=owner, bot_id=bot), found


async def run(step: Any, given: Any) -> Any:
    return await ActivityEnvironment().run(step, given)


async def index(steps: Indexes, ref: IndexRef) -> IndexPlanned:
    """Take the steps that the workflow takes."""
    plan: IndexPlanned = await run(steps.plan_index, ref)
    if plan.drop:
        await run(steps.drop_index, ref)
        return plan
    if plan.build_vectors:
        await run(steps.build_vector_index, ref)
    if plan.index_keywords:
        await run(steps.index_keywords, ref)
    await run(steps.close_index, CloseIndex(ref=ref, state=IndexState.VALID))
    return plan


async def find(
    engine: AsyncEngine,
    ref: IndexRef,
    question: str,
    mode: SearchMode = SearchMode.HYBRID,
    *,
    within: DocumentFilter = EVERYTHING,
    model: str = EMBEDDER.model,
) -> list[Hit]:
    vector = await EMBEDDER.embed_query(question)
    async with engine.connect() as connection:
        # Of so few chunks the planner would rather sort all.
        await connection.execute(text("SET LOCAL enable_sort = off"))
        return await search(
            connection, ref.owner_id, ref.bot_id, question, vector,
            embedding_model=model, mode=mode, limit=10, within=within,
        )  # fmt: skip


async def scans(engine: AsyncEngine, bot: BotId) -> int:
    """Tell how often the bot's vector index was read."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        await connection.commit()
        query = text("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = :name")
        return int(await connection.scalar(query, {"name": vector_indexes.name_of(bot)}) or 0)


async def state(engine: AsyncEngine, ref: IndexRef) -> IndexState | None:
    async with engine.connect() as connection:
        return await rows.state_of(connection, ref.bot_id)


async def postgres_has(engine: AsyncEngine, bot: BotId) -> bool | None:
    """Tell whether the bot's index is whole; None where there is none."""
    async with engine.connect() as connection:
        query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        found: bool | None = await connection.scalar(query, {"name": vector_indexes.name_of(bot)})
        return found


async def test_a_large_bot_gets_an_index_and_searches_use_it_and_find_what_scans_find(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    scanned = {(q, mode): await find(engine, ref, q, mode) for q in QUESTIONS for mode in SearchMode}
    assert await index(steps, ref) == IndexPlanned(chunks=160, build_vectors=True, index_keywords=True)
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (IndexState.VALID, True)
    assert await count(engine, tables.keyword_segments) == 1
    before = await scans(engine, ref.bot_id)
    for (question, mode), expected in scanned.items():
        found = await find(engine, ref, question, mode)
        assert [hit.chunk_id for hit in found] == [hit.chunk_id for hit in expected]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected])
    assert await scans(engine, ref.bot_id) >= before + 8, "the vector arm of two modes and four questions"


async def test_a_turn_of_a_large_bot_retrieves_by_the_index_as_far_as_it_is_told_to_look(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    asked = await a_question(engine, ref.owner_id, ref.bot_id, content=QUESTIONS[0])
    await load(engine, asked)
    assert (await retrieve(engine, asked, EMBEDDER)).passages > 0
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        vector = await EMBEDDER.embed_query(QUESTIONS[0])
        with pytest.raises(RuntimeError, match="transaction"):  # how far to look would be forgotten at once
            await search(
                connection, ref.owner_id, ref.bot_id, QUESTIONS[0], vector,
                embedding_model=EMBEDDER.model, mode=SearchMode.HYBRID, limit=10,
            )  # fmt: skip


async def test_until_it_is_whole_nothing_is_searched_by_it(engine: AsyncEngine, steps: Indexes) -> None:
    ref, _ = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    assert await state(engine, ref) is IndexState.BUILDING
    await run(steps.build_vector_index, ref)
    before = await scans(engine, ref.bot_id)
    assert len(await find(engine, ref, QUESTIONS[0])) == 10
    assert await scans(engine, ref.bot_id) == before


async def test_a_small_bot_gets_none_and_a_step_that_is_taken_twice_changes_nothing(
    engine: AsyncEngine, steps: Indexes
) -> None:
    small, _ = await a_large_bot(engine, documents=1)
    assert await index(steps, small) == IndexPlanned(chunks=40)
    assert await state(engine, small) is None
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    assert await index(steps, ref) == IndexPlanned(chunks=160)
    for step in (steps.build_vector_index, steps.index_keywords):
        await run(step, ref)
    assert await count(engine, tables.keyword_segments) == 1
    assert await count(engine, tables.keyword_segment_versions) == 4
    assert await find(engine, ref, QUESTIONS[0])


@pytest.mark.parametrize("mode", SearchMode)
async def test_what_is_published_after_the_build_is_found_at_once(
    engine: AsyncEngine, steps: Indexes, mode: SearchMode
) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    new, _ = await a_ready_document(
        engine, ref.owner_id, ref.bot_id, ["An umbrella for the admiral."], EMBEDDER, name="new.pdf"
    )
    assert (await find(engine, ref, "umbrella admiral", mode))[0].document_id == new
    assert len(await find(engine, ref, "umbrella lantern", SearchMode.KEYWORD)) == 10, "of both, those in segments too"


async def test_many_new_chunks_are_indexed_by_the_next_run_while_the_index_stays_in_use(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    await a_ready_document(engine, ref.owner_id, ref.bot_id, texts(60, 500), EMBEDDER)
    assert await run(steps.plan_index, ref) == IndexPlanned(chunks=220, index_keywords=True)
    assert await state(engine, ref) is IndexState.VALID
    await index(steps, ref)
    assert await count(engine, tables.keyword_segments) == 1, "small ones are written into one"
    assert await count(engine, tables.keyword_segment_versions) == 5
    assert await run(steps.plan_index, ref) == IndexPlanned(chunks=220)


@pytest.mark.parametrize("mode", SearchMode)
async def test_versions_that_answer_no_more_are_not_found_and_take_no_place(
    engine: AsyncEngine, steps: Indexes, mode: SearchMode
) -> None:
    ref, documents = await a_large_bot(engine, documents=8, chunks=20)
    await index(steps, ref)
    kept = documents[-1]
    async with engine.begin() as connection:
        gone = tables.documents.c.id.in_(documents[:-1])
        await connection.execute(update(tables.documents).where(gone).values(active_ingestion_id=new_id()))
    found = await find(engine, ref, QUESTIONS[2], mode)
    assert {hit.document_id for hit in found} == {kept}
    assert len(found) == 10


@pytest.mark.parametrize("replaced", [2, 4])
async def test_segments_of_versions_that_were_replaced_go_and_the_bot_is_left_alone(
    engine: AsyncEngine, steps: Indexes, replaced: int
) -> None:
    ref, documents = await a_large_bot(engine)
    await index(steps, ref)
    await without(engine, documents[:replaced])
    for n in range(replaced):
        await a_ready_document(engine, ref.owner_id, ref.bot_id, texts(40, 500 + 40 * n), EMBEDDER)
    await index(steps, ref)
    assert await count(engine, tables.keyword_segments) == 1
    assert await count(engine, tables.keyword_segment_versions) == 4
    assert await wanted(engine) == set(), "nothing is left to be done, minute for minute"


async def test_a_segment_that_nobody_needs_goes_though_nothing_is_to_be_written(
    engine: AsyncEngine, steps: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "SEGMENT_CHUNKS", 80)
    monkeypatch.setattr(keyword_segments, "SEGMENT_CHUNKS", 80)
    ref, documents = await a_large_bot(engine)
    await index(steps, ref)
    assert await count(engine, tables.keyword_segments) == 2
    await without(engine, documents[:2])
    await index(steps, ref)
    assert await count(engine, tables.keyword_segments) == 1
    assert await wanted(engine) == set()


@pytest.mark.parametrize("mode", SearchMode)
async def test_a_filter_is_kept_and_leaves_nothing_out(engine: AsyncEngine, steps: Indexes, mode: SearchMode) -> None:
    ref, documents = await a_large_bot(engine)
    within = DocumentFilter(document_ids=(documents[1], documents[3]))
    scanned = [await find(engine, ref, question, mode, within=within) for question in QUESTIONS]
    await index(steps, ref)
    found = [await find(engine, ref, question, mode, within=within) for question in QUESTIONS]
    assert [[hit.chunk_id for hit in hits] for hits in found] == [[hit.chunk_id for hit in hits] for hits in scanned]
    assert {hit.document_id for hits in found for hit in hits} == {documents[1], documents[3]}


async def test_where_the_index_comes_upon_too_few_all_are_scanned(
    engine: AsyncEngine, steps: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, documents = await a_large_bot(engine)
    within = DocumentFilter(document_ids=(documents[2],))
    scanned = await find(engine, ref, QUESTIONS[0], SearchMode.VECTOR, within=within)
    await index(steps, ref)
    lazy = text(
        "SELECT set_config('hnsw.ef_search', '1', true), set_config('hnsw.iterative_scan', 'off', true), :effort"
    )
    monkeypatch.setattr("adapters.postgres.indexed_search.EFFORT", lazy)
    found = await find(engine, ref, QUESTIONS[0], SearchMode.VECTOR, within=within)
    assert [hit.chunk_id for hit in found] == [hit.chunk_id for hit in scanned]


async def test_chunks_of_another_model_are_in_the_index_and_are_found_by_their_words_only(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, documents = await a_large_bot(engine)
    async with engine.begin() as connection:
        older = tables.documents.c.id.in_(documents[:2])
        await connection.execute(update(tables.documents).where(older).values(embedding_model="older/model"))
    await index(steps, ref)
    by_vector = await find(engine, ref, QUESTIONS[0], SearchMode.VECTOR)
    assert {hit.document_id for hit in by_vector} <= set(documents[2:])
    assert len(by_vector) == 10
    assert set(documents[:2]) & {hit.document_id for hit in await find(engine, ref, "number 7", SearchMode.KEYWORD)}


async def test_documents_are_published_while_the_index_is_built(engine: AsyncEngine, steps: Indexes) -> None:
    ref, _ = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    async with a_transaction_that_lasts(engine) as finish:
        building = asyncio.create_task(run(steps.build_vector_index, ref))
        await it_waits(engine)
        new, _ = await a_ready_document(engine, ref.owner_id, ref.bot_id, ["The admiral's umbrella."], EMBEDDER)
        await finish()
        await building
    await run(steps.index_keywords, ref)
    await run(steps.close_index, CloseIndex(ref=ref, state=IndexState.VALID))
    for mode in SearchMode:
        assert (await find(engine, ref, "umbrella admiral", mode))[0].document_id == new


async def test_a_build_whose_worker_dies_leaves_a_broken_index_that_the_next_one_replaces(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    async with a_transaction_that_lasts(engine) as finish:
        building = asyncio.create_task(run(steps.build_vector_index, ref))
        await it_waits(engine)
        async with engine.connect() as connection:
            await connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'indexes'")
            )
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await building
        await finish()
    assert await postgres_has(engine, ref.bot_id) is False, "Postgres leaves it behind, and nothing reads it"
    assert len(await find(engine, ref, QUESTIONS[0])) == 10
    assert (await run(steps.plan_index, ref)).build_vectors
    await run(steps.build_vector_index, ref)
    assert await postgres_has(engine, ref.bot_id) is True


async def test_a_build_that_is_cancelled_is_cleared_away(engine: AsyncEngine, steps: Indexes) -> None:
    ref, _ = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    async with a_transaction_that_lasts(engine) as finish:
        building = asyncio.create_task(run(steps.build_vector_index, ref))
        await it_waits(engine)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        await finish()
    await run(steps.close_index, CloseIndex(ref=ref, state=IndexState.CANCELLED))
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (IndexState.CANCELLED, None)
    assert len(await find(engine, ref, QUESTIONS[0])) == 10


async def test_a_failure_beside_an_index_that_is_in_use_leaves_it_in_use_and_is_shown(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    await run(steps.close_index, CloseIndex(ref=ref, state=IndexState.FAILED, code="internal", message="Away."))
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (IndexState.VALID, True)
    async with engine.connect() as connection:
        _, row = await rows.read(connection, ref.owner_id, ref.bot_id)
    assert row is not None
    assert (row.error_code, row.error_message) == ("internal", "Away.")


async def test_two_builders_at_once_take_turns(engine: AsyncEngine, steps: Indexes) -> None:
    (ref, _), (other, _) = await a_large_bot(engine), await a_large_bot(engine)
    await run(steps.plan_index, ref)
    await run(steps.plan_index, other)
    await asyncio.gather(*(run(steps.build_vector_index, each) for each in (ref, ref, other)))
    assert [await postgres_has(engine, each.bot_id) for each in (ref, other)] == [True, True]


async def test_a_bot_that_shrank_loses_its_index_at_half_of_the_threshold(engine: AsyncEngine, steps: Indexes) -> None:
    ref, documents = await a_large_bot(engine)
    await index(steps, ref)
    await without(engine, documents[:2])
    assert not (await index(steps, ref)).drop
    await without(engine, documents[:3])
    assert await index(steps, ref) == IndexPlanned(chunks=40, drop=True)
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (None, None)
    for table in (tables.keyword_segments, tables.keyword_segment_versions, tables.keyword_postings):
        assert await count(engine, table) == 0
    assert len(await find(engine, ref, QUESTIONS[0])) == 10


async def test_a_drop_that_died_before_its_end_is_done_again(engine: AsyncEngine, steps: Indexes) -> None:
    ref, documents = await a_large_bot(engine)
    await index(steps, ref)
    await without(engine, documents)
    assert (await run(steps.plan_index, ref)).drop
    await vector_indexes.drop(engine, ref.bot_id)
    assert await state(engine, ref) is IndexState.DROPPING
    assert (await index(steps, ref)).drop
    assert await state(engine, ref) is None


async def test_housekeeping_sees_who_grew_who_shrank_and_who_was_left(engine: AsyncEngine, steps: Indexes) -> None:
    await a_large_bot(engine, documents=1)
    grown, _ = await a_large_bot(engine)
    done, _ = await a_large_bot(engine)
    shrunk, documents = await a_large_bot(engine)
    left, _ = await a_large_bot(engine)
    failed, _ = await a_large_bot(engine)
    for each in (done, shrunk):
        await index(steps, each)
    await without(engine, documents)
    for each in (left, failed):
        await run(steps.plan_index, each)
    await run(steps.close_index, CloseIndex(ref=failed, state=IndexState.FAILED, code="internal", message="Away."))
    assert await wanted(engine) == {grown, shrunk, left}
    assert await wanted(engine, given_up_for=timedelta(0)) == {grown, shrunk, left, failed}
    assert await wanted(engine, idle_for=timedelta(hours=1)) == {grown, shrunk}


async def test_housekeeping_sees_whose_keywords_are_not_in_segments_any_more(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    assert await wanted(engine) == set()
    await a_ready_document(engine, ref.owner_id, ref.bot_id, texts(60, 500), EMBEDDER)
    assert await wanted(engine) == {ref}


async def test_a_document_that_is_deleted_takes_its_words_out_of_the_index(
    engine: AsyncEngine, steps: Indexes, deletion: Deletion
) -> None:
    ref, documents = await a_large_bot(engine)
    await index(steps, ref)
    gone = DeletionRef(owner_id=ref.owner_id, bot_id=ref.bot_id, document_id=documents[0])
    await run(deletion.purge_document, gone)
    assert await count(engine, tables.keyword_postings) == 0, "of what shared a segment with it, too"
    found = await find(engine, ref, QUESTIONS[0])
    assert len(found) == 10
    assert documents[0] not in {hit.document_id for hit in found}
    assert await wanted(engine) == {ref}, "the others' are written anew"
    await index(steps, ref)
    assert await count(engine, tables.keyword_segment_versions) == 3


async def test_a_segment_is_not_written_of_a_document_that_is_being_deleted(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, documents = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    async with engine.connect() as connection:
        versions = await keyword_segments.to_write(connection, ref.bot_id)
    await without(engine, documents[:1])
    async with engine.begin() as connection:
        assert not await keyword_segments.replace(connection, ref.bot_id, versions, [])
    assert await count(engine, tables.keyword_segments) == 0


async def test_a_build_that_was_given_up_and_comes_late_leaves_nothing_that_nobody_knows_of(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, documents = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    await without(engine, documents)
    assert (await index(steps, ref)).drop
    await run(steps.build_vector_index, ref)
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (None, None)


async def test_a_drop_that_was_given_up_and_comes_late_leaves_what_is_built_anew(
    engine: AsyncEngine, steps: Indexes
) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    await run(steps.drop_index, ref)
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (IndexState.VALID, True)
    assert await count(engine, tables.keyword_segments) > 0


async def test_a_bot_that_is_deleted_leaves_no_index(engine: AsyncEngine, steps: Indexes, deletion: Deletion) -> None:
    ref, _ = await a_large_bot(engine)
    await index(steps, ref)
    whole = DeletionRef(owner_id=ref.owner_id, bot_id=ref.bot_id)
    while (await run(deletion.purge_bot, whole)).more:
        pass
    assert await state(engine, ref) is IndexState.DROPPING, "a run drops it: another's build may have to be waited for"
    assert await count(engine, tables.keyword_segments) == 0
    assert await wanted(engine) == {ref}
    assert await index(steps, ref) == IndexPlanned(chunks=0, drop=True)
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (None, None)


async def test_a_build_that_ends_after_its_bot_was_deleted_is_not_used(
    engine: AsyncEngine, steps: Indexes, deletion: Deletion
) -> None:
    ref, _ = await a_large_bot(engine)
    await run(steps.plan_index, ref)
    while (await run(deletion.purge_bot, DeletionRef(owner_id=ref.owner_id, bot_id=ref.bot_id))).more:
        pass
    await run(steps.build_vector_index, ref)
    await run(steps.index_keywords, ref)
    await run(steps.close_index, CloseIndex(ref=ref, state=IndexState.VALID))
    assert await state(engine, ref) is IndexState.DROPPING
    await index(steps, ref)
    assert (await state(engine, ref), await postgres_has(engine, ref.bot_id)) == (None, None)


async def test_housekeeping_starts_the_runs_and_looks_once_a_minute(
    engine: AsyncEngine, client: Client, tmp_path: Path
) -> None:
    ref, _ = await a_large_bot(engine)
    time = [now()]
    housekeeping = Housekeeping(engine, FolderBlobStore(tmp_path), client, lambda: time[0], index_chunks=THRESHOLD)
    tick = HousekeepingTick(grace=timedelta(0))
    assert await run(housekeeping.sweep_pending, tick) == Swept(count=1)
    assert await is_open(client, runs.index_run(ref.bot_id))
    other, _ = await a_large_bot(engine)
    assert await run(housekeeping.sweep_pending, tick) == Swept(count=0)
    time[0] += timedelta(minutes=1)
    assert await run(housekeeping.sweep_pending, tick) == Swept(count=1)
    assert await is_open(client, runs.index_run(other.bot_id))


async def wanted(
    engine: AsyncEngine, *, idle_for: timedelta = timedelta(0), given_up_for: timedelta = timedelta(hours=1)
) -> set[IndexRef]:
    async with engine.connect() as connection:
        found = await rows.to_look_after(
            connection, threshold=THRESHOLD, before=now() - idle_for, given_up_before=now() - given_up_for, limit=10
        )
    return set(found)


async def without(engine: AsyncEngine, documents: Sequence[DocumentId]) -> None:
    """Hide documents, as the first step of their deletion does."""
    async with engine.begin() as connection:
        hidden = {"status": "deleting", "active_ingestion_id": None}
        await connection.execute(update(tables.documents).where(tables.documents.c.id.in_(documents)).values(hidden))


@asynccontextmanager
async def a_transaction_that_lasts(engine: AsyncEngine) -> AsyncIterator[Any]:
    """A concurrent build waits for whoever wrote before it began."""
    async with engine.connect() as connection:
        owner = {"id": new_id(), "email": f"{new_id()}@example.com", "password_hash": "!"}
        await connection.execute(insert(tables.users).values(owner))
        await connection.execute(select(func.count()).select_from(tables.chunks))
        await connection.execute(text("LOCK TABLE chunks IN ROW EXCLUSIVE MODE"))
        yield connection.commit


async def it_waits(engine: AsyncEngine) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'indexes' AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(60):
        while True:
            async with engine.connect() as connection:
                if await connection.scalar(waiting):
                    return
            await asyncio.sleep(0.02)
