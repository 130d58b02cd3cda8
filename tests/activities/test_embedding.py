"""Embedding: a batch that is stored is never paid for again, wherever a crash falls."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from temporalio.testing import ActivityEnvironment

from adapters.postgres import tables
from adapters.postgres.engine import open_engine
from domain.errors import EmbeddingModelChanged, IngestionClosed, ProviderRateLimited
from domain.ports import Embeddings
from domain.steps import EmbedShard
from tests.activities.ingestion_steps import BATCH, Bench, CrashAfter, this_info
from tests.fakes import WordEmbedder


class HeldEmbedder(WordEmbedder):
    """Answers when it is let go; says how many calls were open at once."""

    def __init__(self, *, batch_size: int = BATCH) -> None:
        super().__init__(batch_size=batch_size)
        self.go = asyncio.Event()
        self.all_open = asyncio.Event()
        self.six_open = asyncio.Event()
        self.open = self.most = 0

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        self.open += 1
        self.most = max(self.most, self.open)
        if self.open == 3:
            self.all_open.set()
        if self.open == 6:
            self.six_open.set()
        try:
            await self.go.wait()
            return await super().embed_documents(texts)
        finally:
            self.open -= 1


def shard_of(bench: Bench) -> EmbedShard:
    return EmbedShard(ref=bench.ref, shard=0)


async def test_a_shard_is_stored_with_its_vectors_and_counted(bench: Bench) -> None:
    await bench.until_planned()
    done = await bench.run(bench.embedding.embed, shard_of(bench))
    row, document = await bench.row(), await bench.document()
    assert done.chunks == row.stored_chunks == row.planned_chunks == document.chunks_done == await bench.chunks()
    assert done.model_calls == row.model_calls == row.model_calls_needed == bench.embedder.calls
    assert (row.model_tokens, document.stage) == (done.chunks, "publishing")
    assert document.stage_started_at < document.updated_at
    [step] = [step for step in await bench.steps() if step.step == "embed"]
    assert (step.model_calls, step.model_calls_needed, step.model_tokens) == (3, 3, done.chunks)
    async with bench.engine.connect() as connection:
        first = (await connection.execute(select(tables.chunks).where(tables.chunks.c.ordinal == 0))).one()
    assert first.content.startswith("Page 0 speaks")
    assert len(first.embedding.to_list()) == 768
    assert (first.page_from, first.bot_id, first.char_start) == (1, bench.ref.bot_id, 0)


async def test_embedding_twice_pays_once(bench: Bench) -> None:
    await bench.until_planned()
    await bench.run(bench.embedding.embed, shard_of(bench))
    calls = bench.embedder.calls
    again = await bench.run(bench.embedding.embed, shard_of(bench), attempt=2)
    assert (bench.embedder.calls, again.model_calls) == (calls, 0)
    assert await bench.chunks() == (await bench.row()).planned_chunks


# One commit opens the step, one reads what is known, three store a batch each, the last records the end.
@pytest.mark.parametrize("commits", range(1, 7))
async def test_a_crash_after_any_commit_loses_no_paid_batch(
    bench: Bench, crash_after: CrashAfter, commits: int
) -> None:
    await bench.until_planned()
    needed = (await bench.row()).model_calls_needed
    assert needed == 3
    await crash_after(commits, bench.embedding.embed, shard_of(bench))
    stored = await bench.chunks()
    paid = (await bench.row()).model_calls
    lost = bench.embedder.calls - paid
    assert lost <= 2  # the other lanes' calls, whose answers died with the process
    await bench.run(bench.embedding.embed, shard_of(bench), attempt=2)
    row = await bench.row()
    assert await bench.chunks() == row.stored_chunks == row.planned_chunks >= stored
    assert row.model_calls == needed
    assert bench.embedder.calls == needed + lost
    embed = [step for step in await bench.steps() if step.step == "embed"]
    assert [(step.attempts, step.state) for step in embed] == [(2, "completed")]


async def test_three_calls_are_in_flight_and_no_more(bench: Bench) -> None:
    bench.embedder = held = HeldEmbedder(batch_size=BATCH // 2)
    await bench.until_planned()
    running = asyncio.create_task(bench.run(bench.embedding.embed, shard_of(bench)))
    await held.all_open.wait()
    held.go.set()
    await running
    assert held.calls > held.most == 3


async def test_a_failed_call_does_not_waste_the_one_beside_it(bench: Bench) -> None:
    bench.embedder = held = HeldEmbedder()
    await bench.until_planned()
    pause = timedelta(seconds=21)
    held.fail = [ProviderRateLimited("Slow down.", retry_after=pause)]
    running = asyncio.create_task(bench.run(bench.embedding.embed, shard_of(bench)))
    await held.all_open.wait()
    held.go.set()
    with pytest.raises(ProviderRateLimited) as caught:
        await running
    assert caught.value.retry_after == pause
    row = await bench.row()
    assert (bench.embedder.calls, row.model_calls) == (3, 2)
    assert 0 < await bench.chunks() == row.stored_chunks < row.planned_chunks


async def test_two_attempts_at_once_store_each_chunk_once(bench: Bench) -> None:
    await bench.until_planned()
    await asyncio.gather(
        bench.run(bench.embedding.embed, shard_of(bench)), bench.run(bench.embedding.embed, shard_of(bench), attempt=2)
    )
    row = await bench.row()
    assert await bench.chunks() == row.stored_chunks == row.planned_chunks
    assert row.model_calls == row.model_calls_needed


async def test_a_batch_that_comes_after_the_end_is_not_stored(bench: Bench) -> None:
    bench.embedder = held = HeldEmbedder()
    await bench.until_planned()
    running = asyncio.create_task(bench.run(bench.embedding.embed, shard_of(bench)))
    await held.all_open.wait()
    await bench.set(status="cancelled")
    held.go.set()
    with pytest.raises(IngestionClosed):
        await running
    assert (await bench.chunks(), held.calls) == (0, 3)


async def test_a_batch_of_another_plan_is_not_stored(bench: Bench) -> None:
    bench.embedder = held = HeldEmbedder()
    await bench.until_planned()
    running = asyncio.create_task(bench.run(bench.embedding.embed, shard_of(bench)))
    await held.all_open.wait()
    await bench.set(plan_digest=b"another")
    held.go.set()
    with pytest.raises(IngestionClosed):
        await running
    assert await bench.chunks() == 0


async def test_another_model_is_not_mixed_in(bench: Bench) -> None:
    await bench.until_planned()
    bench.embedder = WordEmbedder(model="fake/other", batch_size=BATCH)
    with pytest.raises(EmbeddingModelChanged):
        await bench.run(bench.embedding.embed, shard_of(bench))
    assert bench.embedder.calls == 0


async def test_a_cancelled_shard_stops_at_once_and_keeps_what_is_stored(bench: Bench) -> None:
    bench.embedder = held = HeldEmbedder()
    await bench.until_planned()
    environment = ActivityEnvironment()
    environment.info = this_info(bench.embedding.embed)
    running = asyncio.create_task(environment.run(bench.embedding.embed, shard_of(bench)))
    await held.all_open.wait()
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (held.open, held.calls) == (0, 0)


@pytest.mark.parametrize("held", ["chunks", "documents"], ids=["while it is copied", "while it is counted"])
async def test_a_connection_that_breaks_over_a_paid_batch_costs_no_second_call(bench: Bench, held: str) -> None:
    await bench.until_planned()
    bench.embedder = late = HeldEmbedder()
    running = asyncio.create_task(bench.run(bench.embedding.embed, shard_of(bench)))
    await late.all_open.wait()
    other = open_engine(bench.engine.url.render_as_string(hide_password=False))
    async with other.begin() as holding, other.connect() as operator:
        await holding.execute(text(f"LOCK TABLE {held} IN ACCESS EXCLUSIVE MODE"))
        late.go.set()
        broken = 0
        while not broken:
            found = await operator.execute(text(_BREAK_WAITING))
            broken = len(found.all())
            await operator.rollback()
    await other.dispose()
    await asyncio.wait_for(running, 60)
    row = await bench.row()
    assert bench.embedder.calls == row.model_calls == row.model_calls_needed
    assert await bench.chunks() == row.stored_chunks == row.planned_chunks


_BREAK_WAITING = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'
"""
