"""Retrieval on the real Postgres: what the model is given, stored and announced once."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.retrieval import announcement, opening
from adapters.models.local_embedding import LocalEmbedder
from adapters.postgres import turn_passages, turns
from domain.conversation import TurnOutcome
from domain.errors import ProviderError, TurnClosed
from domain.retrieval import SearchMode
from domain.steps import Retrieved
from tests.activities.turn_steps import attempt, events_of, load, persist, retrieval, retrieve
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import WordEmbedder

TEXTS = [
    "The warranty lasts two years. Batteries are excluded.",
    "A warranty claim needs the receipt.",
    "The office is closed on Sundays.",
]


@pytest.fixture(scope="module")
def local() -> LocalEmbedder:
    return LocalEmbedder(width=768)


async def test_the_best_passages_are_stored_and_announced_once(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, configuration={"retrieval": {"top_k": 2, "merge_neighbours": False}})
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder(), name="terms.pdf")
    ref = await a_question(engine, owner, bot, content="How many years does the warranty last?")
    await load(engine, ref)
    embedder = WordEmbedder()
    for _ in range(2):
        assert await retrieve(engine, ref, embedder) == Retrieved(passages=2)
    assert embedder.calls == 1
    async with engine.connect() as connection:
        stored = await turn_passages.read(connection, ref.turn_id)
    assert [(passage.marker, passage.content) for passage in stored] == [(1, TEXTS[0]), (2, TEXTS[1])]
    announced = [data for type_, data in await events_of(engine, ref) if type_ == "turn.retrieved"]
    assert len(announced) == 1
    first = announced[0]["citations"][0]
    assert first == {
        "marker": 1, "document_id": str(stored[0].document_id), "document_name": "terms.pdf",
        "chunk_id": str(stored[0].chunk_id), "page": 1, "quote": TEXTS[0], "score": pytest.approx(stored[0].score),
        "char_start": 0, "char_end": len(TEXTS[0]),
    }  # fmt: skip


async def test_only_the_documents_that_the_message_names_answer(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    old, _ = await a_ready_document(engine, owner, bot, TEXTS[:1], WordEmbedder(), metadata={"year": 2019})
    new, _ = await a_ready_document(
        engine, owner, bot, ["The warranty lasts three years."], WordEmbedder(), metadata={"year": 2026}
    )
    for filter_, expected in (({"metadata": {"year": {"gte": 2020}}}, new), ({"document_ids": [str(old)]}, old)):
        ref = await a_question(engine, owner, bot, content="How long does the warranty last?", filter=filter_)
        await load(engine, ref)
        assert await retrieve(engine, ref) == Retrieved(passages=1)
        async with engine.connect() as connection:
            assert [each.document_id for each in await turn_passages.read(connection, ref.turn_id)] == [expected]


async def test_a_bot_without_documents_does_not_know(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    for _ in range(2):
        assert await retrieve(engine, ref) == Retrieved(passages=0, unknown=True)
    told = ("turn.retrieved", {"citations": [], "relevance": 0.0, "unknown": True})
    assert (await events_of(engine, ref))[-1] == told


async def test_a_bot_that_always_asks_its_model_does_so_without_passages(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine, configuration={"retrieval": {"threshold": 0}}))
    await load(engine, ref)
    assert await retrieve(engine, ref) == Retrieved(passages=0)


@pytest.mark.parametrize("mode", SearchMode)
async def test_a_question_about_something_else_is_not_known(
    engine: AsyncEngine, mode: SearchMode, local: LocalEmbedder
) -> None:
    owner, bot = await a_bot(engine, configuration={"retrieval": {"mode": mode}})
    await a_ready_document(engine, owner, bot, TEXTS, local)
    for content, unknown in (
        ("How many years does the warranty last?", False),
        ("Which enzyme unwinds the double helix?", True),
        ("How high is Mount Everest?", True),
    ):
        ref = await a_question(engine, owner, bot, content=content)
        await load(engine, ref)
        found = await retrieve(engine, ref, local)
        assert (found.unknown, found.passages == 0) == (unknown, unknown), content


@pytest.mark.parametrize(("threshold", "unknown"), [(0.0, False), (1.0, True)])
async def test_a_bot_may_have_a_threshold_of_its_own(
    engine: AsyncEngine, local: LocalEmbedder, threshold: float, unknown: bool
) -> None:
    owner, bot = await a_bot(engine, configuration={"retrieval": {"threshold": threshold}})
    await a_ready_document(engine, owner, bot, TEXTS, local)
    ref = await a_question(engine, owner, bot, content="Is a receipt needed?")
    await load(engine, ref)
    assert (await retrieve(engine, ref, local)).unknown is unknown


async def test_with_an_embedding_model_that_nobody_has_measured_the_model_is_asked(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder())
    ref = await a_question(engine, owner, bot, content="How high is Mount Everest?")
    await load(engine, ref)
    assert await retrieve(engine, ref) == Retrieved(passages=1)


async def test_neighbours_are_stored_as_one_passage_that_knows_its_chunks(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder())
    ref = await a_question(engine, owner, bot, content="Which warranty claim, of how many years, on Sundays?")
    await load(engine, ref)
    assert await retrieve(engine, ref) == Retrieved(passages=1)
    async with engine.connect() as connection:
        (passage,) = await turn_passages.read(connection, ref.turn_id)
    starts = [passage.content.index(text) for text in TEXTS]
    assert [passage.page_at(at) for at in starts] == [1, 2, 3]
    assert len({passage.chunk_at(at) for at in starts}) == 3


async def test_a_passage_that_is_not_similar_enough_is_not_given(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, configuration={"retrieval": {"min_score": 0.9}})
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder())
    close = await a_question(engine, owner, bot, content=TEXTS[2])
    far = await a_question(engine, owner, bot, content="Which office?")
    for ref, count in ((close, 1), (far, 0)):
        await load(engine, ref)
        assert (await retrieve(engine, ref)).passages == count


async def test_a_search_for_words_embeds_nothing(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, configuration={"retrieval": {"mode": "keyword"}})
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder())
    ref = await a_question(engine, owner, bot, content="Is there a receipt?")
    await load(engine, ref)
    embedder = WordEmbedder()
    assert (await retrieve(engine, ref, embedder)).passages == 1
    assert embedder.calls == 0


async def test_a_failed_embedding_leaves_nothing_behind(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    embedder = WordEmbedder()
    embedder.fail = [ProviderError("Away.")]
    with pytest.raises(ProviderError):
        await retrieve(engine, ref, embedder)
    assert [type_ for type_, _ in await events_of(engine, ref)] == ["turn.started"]
    assert await retrieve(engine, ref, embedder) == Retrieved(passages=0, unknown=True)


async def test_a_late_retrieval_does_not_write_into_a_finished_turn(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    before = await events_of(engine, ref)
    with pytest.raises(TurnClosed):
        await retrieve(engine, ref)
    assert await events_of(engine, ref) == before


def test_an_announced_quote_is_the_beginning_in_whole_sentences() -> None:
    assert opening("One. Two. " + "X" * 300) == "One. Two."
    assert opening("y" * 300) == "y" * 240
    assert opening("  ") == ""


@pytest.mark.parametrize("rerank", [False, True])
async def test_an_attempt_that_comes_second_gives_what_the_first_has_announced(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, rerank: bool
) -> None:
    owner, bot = await a_bot(engine, configuration={"retrieval": {"rerank": rerank}})
    for name in ("terms.pdf", "notes.pdf"):
        await a_ready_document(engine, owner, bot, TEXTS[:2], WordEmbedder(), name=name)
    ref = await a_question(engine, owner, bot, content="How long does the warranty last?")
    await load(engine, ref)
    store = turns.store_candidates

    async def overtaken(*args: Any) -> bool:
        monkeypatch.setattr(turns, "store_candidates", store)
        async with engine.begin() as earlier:  # which searched before the documents were there
            assert await turns.announce_passages(earlier, ref, [], announcement([], 0.0, unknown=True))
        return await store(*args)

    monkeypatch.setattr(turns, "store_candidates", overtaken)
    step = retrieval(engine, completes=True)
    assert await attempt(step.retrieve, ref, number=2) == Retrieved(passages=0, unknown=True)
