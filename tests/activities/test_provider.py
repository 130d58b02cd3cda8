"""What the embed step makes of a provider's moods: google-genai before the double, the real database behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select

from adapters.models.gemini import open_gemini
from adapters.postgres import tables
from adapters.postgres.search import search
from domain.errors import ProviderError, ProviderRejected
from domain.retrieval import SearchMode
from domain.steps import Embedded, EmbedShard
from tests import gemini_double as g
from tests.activities.ingestion_steps import Bench, CrashAfter, PageExtractor
from tests.adapters.test_gemini import settings_for

PAGES = 150
CALLS = 2


@pytest_asyncio.fixture
async def double() -> AsyncIterator[g.GeminiDouble]:
    async with g.running_double() as double:
        double.keep_requests = False
        yield double


@asynccontextmanager
async def planned(bench: Bench, double: g.GeminiDouble, *, patience: float = 20) -> AsyncIterator[Bench]:
    """A planned document of 150 chunks, two calls, before Gemini's client."""
    bench.extractor = PageExtractor(
        [f"Page {n} speaks of topic{n}. It says a little more about it, and then it ends here." for n in range(PAGES)]
    )
    async with open_gemini(settings_for(double.url, model_timeout=timedelta(seconds=patience))) as (embedder, _):
        bench.embedder = embedder
        await bench.until_planned()
        yield bench


async def embed(bench: Bench, attempt: int = 1) -> Embedded:
    done: Embedded = await bench.run(bench.embedding.embed, EmbedShard(ref=bench.ref, shard=0), attempt=attempt)
    return done


async def nothing_is_lost_or_paid_twice(bench: Bench, double: g.GeminiDouble, *, useless: int = 0) -> None:
    """Each text once, and those whose answer was of no use."""
    row = await bench.row()
    assert row.stored_chunks == row.planned_chunks == PAGES == await bench.chunks()
    assert row.model_calls == row.model_calls_needed
    assert double.texts_embedded.total() == PAGES + useless
    assert (await bench.run(bench.ingestion.publish, bench.ref)).published


FAULTS = {
    "429 with RetryInfo": (g.rate_limited("21s"), "provider_rate_limited", timedelta(seconds=21)),
    "429 without RetryInfo": (g.rate_limited(None), "provider_rate_limited", None),
    "500": (g.error(500), "provider_unavailable", None),
    "503": (g.error(503, "UNAVAILABLE"), "provider_unavailable", None),
    "a connection dropped at once": (g.dropped(), "provider_unavailable", None),
    "a connection dropped in the answer": (g.dropped_midway(), "provider_unavailable", None),
    "half an answer": (g.malformed(), "provider_malformed", None),
}


@pytest.mark.parametrize(("fault", "code", "pause"), FAULTS.values(), ids=FAULTS)
async def test_a_failed_call_is_tried_again_and_the_one_beside_it_is_not_paid_twice(
    bench: Bench, double: g.GeminiDouble, fault: g.Fault, code: str, pause: timedelta | None
) -> None:
    async with planned(bench, double):
        double.script("embed", fault)
        with pytest.raises(ProviderError) as caught:
            await embed(bench)
        assert (caught.value.code, caught.value.retryable, caught.value.retry_after) == (code, True, pause)
        assert (await bench.row()).model_calls == 1
        assert (await embed(bench, attempt=2)).model_calls == 1
        assert double.calls["embed"] == CALLS + 1
        await nothing_is_lost_or_paid_twice(bench, double)


async def test_a_burst_of_failures_costs_nothing_but_time(bench: Bench, double: g.GeminiDouble) -> None:
    async with planned(bench, double):
        double.script("embed", *[g.error(503, "UNAVAILABLE")] * 4, *[g.error(500)] * 4)
        for attempt in range(1, 5):
            with pytest.raises(ProviderError):
                await embed(bench, attempt)
        assert await bench.chunks() == 0
        await embed(bench, attempt=5)
        await nothing_is_lost_or_paid_twice(bench, double)


async def test_a_quota_of_the_day_waits_for_its_reset_and_not_for_the_seconds_of_its_retry_info(
    bench: Bench, double: g.GeminiDouble
) -> None:
    async with planned(bench, double):
        double.script("embed", g.fine(), g.quota_of_the_day())
        with pytest.raises(ProviderError, match="midnight") as caught:
            await embed(bench)
        assert (caught.value.code, caught.value.retryable) == ("quota_exhausted", True)
        assert caught.value.retry_after is not None
        assert timedelta(0) < caught.value.retry_after <= timedelta(days=1)
        await embed(bench, attempt=2)
        await nothing_is_lost_or_paid_twice(bench, double)


async def test_a_slow_answer_is_given_up_and_asked_for_again(bench: Bench, double: g.GeminiDouble) -> None:
    async with planned(bench, double, patience=1):
        double.script("embed", g.stalled())
        with pytest.raises(ProviderError, match="in time"):
            await embed(bench)
        assert await bench.chunks() > 0
        await embed(bench, attempt=2)
        await nothing_is_lost_or_paid_twice(bench, double)


async def test_vectors_of_a_wrong_width_are_not_stored(bench: Bench, double: g.GeminiDouble) -> None:
    async with planned(bench, double):
        double.script("embed", g.wrong_width(), g.wrong_width())
        with pytest.raises(ProviderError) as caught:
            await embed(bench)
        assert (caught.value.code, await bench.chunks()) == ("provider_malformed", 0)
        await embed(bench, attempt=2)
        await nothing_is_lost_or_paid_twice(bench, double, useless=PAGES)


async def test_a_refused_text_is_named_and_everything_else_is_embedded(bench: Bench, double: g.GeminiDouble) -> None:
    async with planned(bench, double):
        double.refused_words = "topic77."
        await embed(bench)
        row = await bench.row()
        assert (row.refused_chunks, row.stored_chunks) == (1, PAGES)
        assert row.model_calls == row.model_calls_needed
        assert double.texts_embedded.total() == PAGES - 1 + 1  # and the ordinary sentence
        assert max(double.texts_embedded.values()) == 1
        async with bench.engine.connect() as connection:
            query = select(tables.chunks).where(tables.chunks.c.embedding.is_(None))
            [refused] = (await connection.execute(query)).all()
        assert "topic77." in refused.content
        assert refused.embedding_error == "provider_rejected"
        assert (await bench.run(bench.ingestion.publish, bench.ref)).published
        document = await bench.document()
        assert (document.status, document.chunk_count, document.refused_chunks) == ("ready", PAGES, 1)
        vector = await bench.embedder.embed_query("Who speaks of topic77?")
        for mode, found in ((SearchMode.KEYWORD, True), (SearchMode.HYBRID, True), (SearchMode.VECTOR, False)):
            async with bench.engine.connect() as connection:
                hits = await search(
                    connection, bench.ref.owner_id, bench.ref.bot_id, "topic77", vector,
                    embedding_model=bench.embedder.model, mode=mode, limit=PAGES,
                )  # fmt: skip
            assert any(hit.chunk_id == refused.id for hit in hits) is found, mode


@pytest.mark.parametrize("commits", range(3, 12))
async def test_a_crash_while_a_batch_is_halved_pays_no_stored_answer_again(
    bench: Bench, double: g.GeminiDouble, crash_after: CrashAfter, commits: int
) -> None:
    async with planned(bench, double):
        double.refused_words = "topic77."
        await crash_after(commits, bench.embedding.embed, EmbedShard(ref=bench.ref, shard=0))
        async with bench.engine.connect() as connection:
            query = select(tables.chunks.c.content).where(tables.chunks.c.embedding.is_not(None))
            stored = set((await connection.execute(query)).scalars())
        await embed(bench, attempt=2)
        row = await bench.row()
        assert await bench.chunks() == row.stored_chunks == row.planned_chunks == PAGES
        assert (row.refused_chunks, row.model_calls) == (1, row.model_calls_needed)
        assert [text for text in stored if double.texts_embedded[text] > 1] == []


async def test_a_model_that_refuses_every_text_is_the_operators_matter_and_marks_no_chunk(
    bench: Bench, double: g.GeminiDouble
) -> None:
    async with planned(bench, double):
        double.script("embed", *[g.error(400, "INVALID_ARGUMENT")] * 4)
        with pytest.raises(ProviderRejected, match="CHATSPHERE_GEMINI_EMBEDDING_MODEL") as caught:
            await embed(bench)
        assert not caught.value.retryable
        assert (await bench.chunks(), (await bench.row()).refused_chunks) == (0, 0)
        await embed(bench, attempt=2)
        await nothing_is_lost_or_paid_twice(bench, double)
