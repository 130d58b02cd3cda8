"""A text is paid for once an owner and model, as long as a chunk of it is stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.deletion import Deletion
from adapters.clock import now
from adapters.models.gemini import open_gemini
from adapters.postgres import tables
from domain.documents import IngestionRef
from domain.steps import EmbedShard
from tests.activities.ingestion_steps import BATCH, Bench, CrashAfter, PageExtractor
from tests.activities.test_embedding import HeldEmbedder
from tests.adapters.test_gemini import settings_for
from tests.fakes import WordEmbedder
from tests.gemini_double import GeminiDouble, running_double
from tests.rows import Home, a_document, a_home, a_new_version
from tests.servers import TemporalServer

PAGES = 300


def handbook() -> list[str]:
    """300 pages of four paragraphs each, no two alike."""
    return [
        "\n\n".join(
            f"Page {page}, paragraph {part}. Drawer {page * 4 + part} opens with key {page * 7919 % 100003}, which hangs on "
            f"hook {part * 31 + page}. Whoever takes the key signs for it in book {page % 89}, with date and hour. "
            f"What is found in the drawer is counted by two persons, who do not leave the room before the other. "
            f"A drawer that does not open is reported to office {page % 17}, and its key is kept there until it does."
            for part in range(4)
        )
        for page in range(PAGES)
    ]


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        double.keep_requests = False
        yield double


async def another(bench: Bench, home: Home | None = None, pages: Sequence[str] | None = None) -> Bench:
    """Another document, of the same pages where none are given and of the same owner where none is given."""
    home = home or Home(bench.ref.owner_id, bench.ref.bot_id)
    ref = await a_document(bench.engine, home, status="pending", ingestion="pending")
    made = replace(bench, ref=ref, extractor=PageExtractor(bench.extractor.pages if pages is None else pages))
    await made.put_source(ref)
    return made


async def a_version(bench: Bench, pages: Sequence[str]) -> Bench:
    """A new version of the document."""
    ref = await a_new_version(bench.engine, bench.ref)
    made = replace(bench, ref=ref, extractor=PageExtractor(pages))
    await made.put_source(ref)
    return made


async def ingest(bench: Bench) -> Any:
    """Take the document through every step; answers the ingestion's row."""
    await bench.until_planned()
    await embed(bench)
    assert (await bench.run(bench.ingestion.publish, bench.ref)).published
    row = await bench.row()
    assert row.model_calls == row.model_calls_needed
    return row


async def embed(bench: Bench, *, attempt: int = 1) -> None:
    for shard in range((await bench.row()).shards):
        await bench.run(bench.embedding.embed, EmbedShard(ref=bench.ref, shard=shard), attempt=attempt)


async def vectors_of(engine: AsyncEngine, ref: IngestionRef) -> dict[str, bytes]:
    query = select(tables.chunks.c.content, tables.chunks.c.embedding)
    async with engine.connect() as connection:
        rows = await connection.execute(query.where(tables.chunks.c.ingestion_id == ref.ingestion_id))
        return {row.content: row.embedding.to_binary() for row in rows}


async def test_one_changed_paragraph_of_300_pages_costs_one_call_with_the_few_changed_texts(
    bench: Bench, double: GeminiDouble
) -> None:
    async with open_gemini(settings_for(double.url)) as (embedder, _):
        first = replace(bench, extractor=PageExtractor(handbook()), embedder=embedder, characters=1000)
        planned = (await ingest(first)).planned_chunks
        assert planned > PAGES
        assert double.calls["embed"] == -(-planned // 100)
        before = await vectors_of(bench.engine, first.ref)
        double.reset()
        pages = handbook()
        pages[150] = pages[150].replace("with date and hour.", "with date, hour and the name of whoever sent them.", 1)
        second = await a_version(first, pages)
        row = await ingest(second)
    assert double.calls["embed"] == 1
    assert double.texts_embedded.total() <= 3
    assert all("Page 150" in changed for changed in double.texts_embedded)
    assert (row.model_calls, row.model_calls_needed) == (1, 1)
    assert row.reused_chunks == row.planned_chunks - double.texts_embedded.total()
    after = await vectors_of(bench.engine, second.ref)
    assert len(after) == row.planned_chunks
    kept = after.keys() & before.keys()
    assert {content: before[content] for content in kept} == {content: after[content] for content in kept}
    assert after.keys() - kept == set(double.texts_embedded)


async def test_a_version_that_changes_nothing_costs_no_call(bench: Bench) -> None:
    await ingest(bench)
    bench.embedder.calls = 0
    row = await ingest(await a_version(bench, bench.extractor.pages))
    assert bench.embedder.calls == row.model_calls == row.model_calls_needed == row.model_tokens == 0
    assert row.reused_chunks == row.stored_chunks == row.planned_chunks


async def test_the_same_text_under_another_name_costs_no_call(bench: Bench) -> None:
    first = await ingest(bench)
    bench.embedder.calls = 0
    copy = await another(bench)
    row = await ingest(copy)
    assert (bench.embedder.calls, row.reused_chunks) == (0, first.planned_chunks)
    assert await vectors_of(bench.engine, copy.ref) == await vectors_of(bench.engine, bench.ref)


async def test_another_owners_identical_text_is_paid_for(bench: Bench) -> None:
    first = await ingest(bench)
    bench.embedder.calls = 0
    row = await ingest(await another(bench, await a_home(bench.engine)))
    assert (bench.embedder.calls, row.reused_chunks) == (first.model_calls, 0)


async def test_another_models_vector_is_not_taken(bench: Bench) -> None:
    first = await ingest(bench)
    bench.embedder = WordEmbedder(model="fake/other", batch_size=BATCH)
    row = await ingest(await another(bench))
    assert (bench.embedder.calls, row.reused_chunks) == (first.model_calls, 0)


async def test_a_text_that_is_there_twice_is_sent_once(bench: Bench) -> None:
    pages = [f"Page {number}." for number in range(3)] + ["The same words."] * 20
    repeated = await another(bench, pages=["\n\n".join(pages)])
    repeated.characters = 15
    row = await ingest(repeated)
    assert row.planned_chunks == 23
    assert bench.embedder.calls == row.model_calls == row.model_calls_needed == 1
    assert (row.model_tokens, row.reused_chunks) == (4, 0)


async def test_a_deleted_documents_vectors_are_known_no_more(bench: Bench, dev_server: TemporalServer) -> None:
    first = await ingest(bench)
    deletion = Deletion(bench.engine, bench.blobs, await dev_server.client(), now)
    home = Home(bench.ref.owner_id, bench.ref.bot_id)
    while (await bench.run(deletion.purge_document, home.deletion_of(bench.ref))).more:
        pass
    holding = [
        table.name for table in tables.metadata.sorted_tables for column in table.c if column.name == "embedding"
    ]
    assert holding == [tables.chunks.name], "another table keeps vectors"
    bench.embedder.calls = 0
    row = await ingest(await another(bench))
    assert (bench.embedder.calls, row.reused_chunks) == (first.model_calls, 0)


# One commit opens the step, one reads what is known, one stores it, two store a batch each, the last records the end.
@pytest.mark.parametrize("commits", range(1, 7))
async def test_a_crash_between_what_is_known_and_what_is_paid_doubles_nothing(
    bench: Bench, crash_after: CrashAfter, commits: int
) -> None:
    await ingest(bench)
    kept = bench.extractor.pages
    pages = [*kept[:6], *(page.replace("topic", "other") for page in kept[6:])]
    second = await a_version(bench, pages)
    await second.until_planned()
    bench.embedder.calls = 0
    await crash_after(commits, second.embedding.embed, EmbedShard(ref=second.ref, shard=0))
    lost = bench.embedder.calls - (await second.row()).model_calls
    assert lost <= 1
    await embed(second, attempt=2)
    row = await second.row()
    assert await second.chunks() == row.stored_chunks == row.planned_chunks
    assert (row.model_calls, row.model_calls_needed, row.reused_chunks) == (2, 2, 6)
    assert bench.embedder.calls == 2 + lost
    assert (await bench.run(second.ingestion.publish, second.ref)).published


async def test_two_attempts_that_know_different_vectors_store_each_chunk_once(bench: Bench) -> None:
    """The second attempt's calls hold other texts than the first one's, since a neighbour was stored in between."""
    held = HeldEmbedder()
    twice = replace(bench, embedder=held)
    await twice.until_planned()
    shard = EmbedShard(ref=bench.ref, shard=0)
    late = asyncio.create_task(twice.run(twice.embedding.embed, shard))
    await held.all_open.wait()
    await ingest(await another(bench, pages=bench.extractor.pages[1:3]))
    again = asyncio.create_task(twice.run(twice.embedding.embed, shard, attempt=2))
    await held.six_open.wait()
    held.go.set()
    await asyncio.gather(late, again)
    row = await bench.row()
    assert await bench.chunks() == row.stored_chunks == row.planned_chunks
    assert (await bench.run(bench.ingestion.publish, bench.ref)).published
