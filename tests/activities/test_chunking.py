"""Chunking: the same pages give the same plan; another plan starts from nothing."""

import dataclasses
from pathlib import Path

import pytest

from activities.chunking import Chunking, Sizes, read_shard
from adapters.clock import now
from domain.blobs import shard_key
from domain.errors import NoText
from domain.ingestion import shard_size
from domain.steps import EmbedShard
from tests.activities.ingestion_steps import BATCH, Bench, CrashAfter
from tests.fakes import WordEmbedder


async def test_the_plan_is_stored_before_anything_is_paid_for(bench: Bench, tmp_path: Path) -> None:
    await bench.until_extracted()
    planned = await bench.run(bench.chunking.chunk, bench.ref)
    row, document = await bench.row(), await bench.document()
    key = shard_key(bench.ref.document_id, bench.ref.ingestion_id, 0)
    digest, chunks = read_shard(await bench.blobs.fetch(key, tmp_path))
    assert planned.chunks == row.planned_chunks == document.chunks_total == len(chunks) > BATCH
    assert (row.shards, row.model_calls_needed) == (1, -(-len(chunks) // BATCH))
    assert (row.embedding_model, row.batch_size, row.plan_digest) == ("fake/words", BATCH, digest)
    assert document.stage == "embedding"
    assert bench.embedder.calls == 0


@pytest.mark.parametrize("commits", [1, 2])
async def test_planning_twice_is_planning_once(bench: Bench, crash_after: CrashAfter, commits: int) -> None:
    await bench.until_extracted()
    await crash_after(commits, bench.chunking.chunk, bench.ref)
    again = await bench.run(bench.chunking.chunk, bench.ref, attempt=2)
    row = await bench.row()
    assert (again.chunks, again.shards) == (row.planned_chunks, row.shards)
    assert [(step.step, step.attempts) for step in await bench.steps()] == [("extract", 1), ("chunk", 2)]


async def test_the_same_plan_keeps_what_is_stored(bench: Bench) -> None:
    await bench.until_planned()
    await bench.run(bench.embedding.embed, EmbedShard(ref=bench.ref, shard=0))
    stored = await bench.chunks()
    await bench.run(bench.chunking.chunk, bench.ref)
    assert await bench.chunks() == (await bench.row()).stored_chunks == stored > 0


async def test_another_plan_deletes_what_another_model_embedded(bench: Bench) -> None:
    await bench.until_planned()
    await bench.run(bench.embedding.embed, EmbedShard(ref=bench.ref, shard=0))
    bench.embedder = WordEmbedder(model="fake/other", batch_size=BATCH)
    await bench.run(bench.chunking.chunk, bench.ref)
    row = await bench.row()
    assert (await bench.chunks(), row.stored_chunks, row.embedding_model) == (0, 0, "fake/other")
    assert (await bench.document()).chunks_done == 0


async def test_a_document_of_white_space_has_no_text(bench: Bench) -> None:
    bench.extractor.pages = [" \n", "\t"]
    await bench.until_extracted()
    with pytest.raises(NoText):
        await bench.run(bench.chunking.chunk, bench.ref)
    assert (await bench.row()).planned_chunks is None


async def test_a_large_document_is_cut_into_shards_of_whole_batches(bench: Bench, tmp_path: Path) -> None:
    bench.extractor.pages = [f"Sentence number {n}. " * 5 for n in range(1200)]
    bench.embedder.batch_size = 100
    await bench.until_planned()
    row = await bench.row()
    shards = [
        read_shard(await bench.blobs.fetch(shard_key(bench.ref.document_id, bench.ref.ingestion_id, n), tmp_path))
        for n in range(row.shards)
    ]
    assert [len(chunks) for _, chunks in shards[:-1]] == [shard_size(100)] * (row.shards - 1) == [500] * 2
    assert [chunk.ordinal for _, chunks in shards for chunk in chunks] == list(range(row.planned_chunks))
    assert {digest for digest, _ in shards} == {row.plan_digest}
    assert row.model_calls_needed == sum(-(-len(chunks) // 100) for _, chunks in shards)


async def test_sizes_are_part_of_the_plan(bench: Bench) -> None:
    await bench.until_planned()
    first = (await bench.row()).plan_digest
    wider = dataclasses.replace(bench)
    chunking = Chunking(wider.engine, wider.blobs, wider.embedder, Sizes(300, 50), now)
    await bench.run(chunking.chunk, bench.ref)
    assert (await bench.row()).plan_digest != first
