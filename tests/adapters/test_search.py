"""Search on the real Postgres: who sees what, and in which order."""

import numpy as np
import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.ids import new_id
from adapters.postgres.search import search
from adapters.postgres.search_statements import READABLE
from adapters.postgres.tables import documents
from domain.filters import DocumentFilter
from domain.ids import BotId, UserId
from domain.retrieval import Hit, SearchMode
from tests.builders import a_bot, a_ready_document
from tests.fakes import WordEmbedder

EMBEDDER = WordEmbedder()
TEXTS = (
    "The warranty lasts twenty-four months from the day of purchase.",
    "Batteries are excluded from the warranty.",
    "Our office is closed on public holidays.",
)


async def find(
    engine: AsyncEngine,
    owner: UserId,
    bot: BotId,
    query: str,
    *,
    mode: SearchMode = SearchMode.HYBRID,
    limit: int = 10,
    model: str = EMBEDDER.model,
) -> list[Hit]:
    vector = await EMBEDDER.embed_query(query)
    async with engine.connect() as connection:
        return await search(connection, owner, bot, query, vector, embedding_model=model, mode=mode, limit=limit)


@pytest.mark.parametrize("mode", SearchMode)
async def test_every_mode_puts_the_chunk_that_answers_first(engine: AsyncEngine, mode: SearchMode) -> None:
    owner, bot = await a_bot(engine)
    document, _ = await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER, name="terms.pdf")
    best = (await find(engine, owner, bot, "How many months does the warranty last?", mode=mode))[0]
    assert (best.content, best.document_id, best.document_name, best.page) == (TEXTS[0], document, "terms.pdf", 1)


@pytest.mark.parametrize("mode", SearchMode)
async def test_scores_fall_from_one_to_zero_in_every_mode(engine: AsyncEngine, mode: SearchMode) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    scores = [hit.score for hit in await find(engine, owner, bot, "warranty of batteries and the office", mode=mode)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert scores[0] >= 0.5


async def test_the_best_of_both_arms_comes_first_and_carries_what_each_thinks_of_it(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    best = (await find(engine, owner, bot, TEXTS[2]))[0]
    assert best.content == TEXTS[2]
    assert best.similarity == pytest.approx(1, abs=1e-3)
    assert best.coverage > 0.9


async def test_words_that_no_chunk_has_count_as_words_that_are_missing(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    whole, half = [
        (await find(engine, owner, bot, query, mode=SearchMode.KEYWORD))[0].coverage
        for query in ("batteries excluded", "batteries excluded submarine periscope")
    ]
    assert 0 < half < 0.6 * whole


async def test_a_documents_name_and_the_headings_above_a_chunk_find_it(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    named, _ = await a_ready_document(
        engine, owner, bot, ["Revenue was 7 million."], EMBEDDER, name="Acme_2018_10-K.pdf"
    )
    await a_ready_document(engine, owner, bot, ["Revenue was 9 million."], EMBEDDER, name="Bolt_2019_10-K.pdf")
    hits = await find(engine, owner, bot, "What was the revenue of Acme in FY2018?", mode=SearchMode.KEYWORD)
    assert hits[0].document_id == named


async def test_a_term_that_few_chunks_have_weighs_more_than_one_that_many_have(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    texts = ["The warranty of the lamp."] + [
        f"The warranty of thing {number}, and the warranty again." for number in range(30)
    ]
    await a_ready_document(engine, owner, bot, texts, EMBEDDER)
    hits = await find(engine, owner, bot, "lamp warranty warranty", mode=SearchMode.KEYWORD)
    assert hits[0].content == texts[0]


async def test_a_long_question_is_counted_beyond_one_mask(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    filler = " ".join(chr(97 + number // 26) + chr(97 + number % 26) + "q" for number in range(60))
    await a_ready_document(engine, owner, bot, ["The heliotrope is a flower.", "Nothing of the kind."], EMBEDDER)
    hits = await find(engine, owner, bot, f"{filler} heliotrope", mode=SearchMode.KEYWORD)
    assert [hit.content for hit in hits] == ["The heliotrope is a flower."]


async def test_any_word_of_the_question_finds_a_chunk_and_more_words_find_it_better(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    texts = ("warranty warranty warranty warranty", "warranty for batteries", "nothing of the kind")
    await a_ready_document(engine, owner, bot, texts, EMBEDDER)
    hits = await find(engine, owner, bot, "batteries and their warranty, please", mode=SearchMode.KEYWORD)
    assert [hit.content for hit in hits] == ["warranty for batteries", "warranty warranty warranty warranty"]


async def test_another_owner_or_bot_sees_nothing_of_it(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    stranger, other = await a_bot(engine)
    _, second = await a_bot(engine, owner)
    for who, where in ((stranger, bot), (owner, other), (owner, second), (stranger, other)):
        for mode in SearchMode:
            assert await find(engine, who, where, "warranty", mode=mode) == []


async def test_only_the_active_version_of_a_document_is_found(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    ready, _ = await a_ready_document(engine, owner, bot, ["the warranty of old"], EMBEDDER)
    await a_ready_document(engine, owner, bot, ["a warranty not published"], EMBEDDER, active_ingestion_id=None)
    await a_ready_document(engine, owner, bot, ["a warranty on its way out"], EMBEDDER, status="deleting")
    for mode in SearchMode:
        assert [hit.document_id for hit in await find(engine, owner, bot, "warranty", mode=mode)] == [ready]


async def test_a_document_that_is_replaced_answers_until_the_new_version_is_ready(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    ready, _ = await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    async with engine.begin() as connection:
        await connection.execute(update(documents).where(documents.c.id == ready).values(status="processing"))
    assert (await find(engine, owner, bot, "warranty"))[0].document_id == ready


async def test_chunks_of_another_embedding_model_are_found_by_their_words_only(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder(model="fake/older"))
    assert await find(engine, owner, bot, "warranty", mode=SearchMode.VECTOR) == []
    hits = await find(engine, owner, bot, "office holidays")
    assert [hit.content for hit in hits] == [TEXTS[2]]
    assert hits[0].similarity is None


@pytest.mark.parametrize(
    "query", ["of the and", "'); drop table chunks; --", "a & b | !c <-> d:*", "\\'", "🙂", "中文"]
)
async def test_a_query_of_odd_characters_is_only_a_query(engine: AsyncEngine, query: str) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    for mode in SearchMode:
        await find(engine, owner, bot, query, mode=mode)
    assert len(await find(engine, owner, bot, "warranty", mode=SearchMode.VECTOR)) == 3


async def test_a_vector_without_a_direction_scores_nothing_and_breaks_nothing(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, EMBEDDER)
    zero = np.zeros(EMBEDDER.width, dtype=np.float32)
    async with engine.connect() as connection:
        hits = await search(
            connection, owner, bot, "", zero, embedding_model=EMBEDDER.model, mode=SearchMode.VECTOR, limit=2
        )
    assert [(hit.score, hit.similarity) for hit in hits] == [(0, None), (0, None)]


async def test_a_filter_by_metadata_is_looked_up_and_the_bots_other_documents_are_not_read(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    row = {
        "owner_id": owner, "bot_id": bot, "name": "a.txt", "source_type": "file", "content_type": "text/plain",
        "size_bytes": 1, "status": "ready", "embedding_model": EMBEDDER.model,
    }  # fmt: skip
    rows = [{**row, "id": (at := new_id()), "sha256": at.hex, "current_ingestion_id": at, "active_ingestion_id": at,
             "metadata": {"number": number}} for number in range(2_000)]  # fmt: skip
    within = DocumentFilter.model_validate({"metadata": {"number": 7}})
    scope = {"owner": owner, "bot": bot, "model": EMBEDDER.model, "documents": None, "metadata": within.metadata_path(),
             "created_after": None, "created_before": None}  # fmt: skip
    async with engine.connect() as connection:
        await connection.execute(insert(documents), rows)
        await connection.execute(text("ANALYZE documents"))
        # Every statement of a search asks in the same words which documents may answer; this one asks nothing else.
        plan = "\n".join(
            (await connection.execute(text(f"EXPLAIN WITH {READABLE} SELECT FROM readable"), scope)).scalars()
        )
    assert "Bitmap Index Scan on ix_documents_metadata" in plan, plan
