"""Putting passages in order on the real Postgres: paid for once, counted, and never a reason to fail."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.reranking import Reranking
from adapters.postgres import turn_passages
from domain.conversation import TurnOutcome
from domain.errors import ProviderError, SafetyBlocked, TurnClosed
from domain.steps import Reranked, RerankPassages, Retrieved, TurnRef
from tests.activities.turn_steps import (
    NOW,
    answer_of,
    attempt,
    events_of,
    generation,
    load,
    persist,
    retrieval,
    turn_of,
)
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import ScriptedGenerator, WordEmbedder

TEXTS = ["The warranty lasts two years.", "A warranty claim needs a receipt.", "The warranty excludes batteries."]


async def a_turn(engine: AsyncEngine, fallback_models: Sequence[str] = (), **retrieval: Any) -> TurnRef:
    wanted = {"top_k": 2, "merge_neighbours": False, "rerank": True} | retrieval
    owner, bot = await a_bot(engine, configuration={"retrieval": wanted, "fallback_models": fallback_models})
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder(), name="terms.pdf")
    ref = await a_question(engine, owner, bot, content="How long is the warranty?")
    await load(engine, ref)
    return ref


async def found(engine: AsyncEngine, ref: TurnRef, *, completes: bool = True) -> Retrieved:
    return await attempt(retrieval(engine, completes=completes).retrieve, ref)


async def rerank(engine: AsyncEngine, ref: TurnRef, generator: ScriptedGenerator, *, number: int = 1) -> Reranked:
    return await attempt(
        Reranking(engine, generator, lambda: NOW).rerank, RerankPassages(ref=ref, relevance=0.5), number=number
    )


async def contents(engine: AsyncEngine, ref: TurnRef) -> list[str]:
    async with engine.connect() as connection:
        return [passage.content for passage in await turn_passages.read(connection, ref.turn_id)]


def ordering(*answers: str | BaseException) -> ScriptedGenerator:
    return ScriptedGenerator(["It says so [1]."], completions=list(answers))


async def test_the_model_chooses_of_more_than_are_given_and_its_choice_is_announced(engine: AsyncEngine) -> None:
    ref = await a_turn(engine)
    candidates = await found(engine, ref)
    assert (candidates.passages, candidates.rerank) == (3, True)
    assert "turn.retrieved" not in [kind for kind, _ in await events_of(engine, ref)]
    as_found = await contents(engine, ref)
    generator = ordering("3, 1")
    for number in (1, 2):
        assert await rerank(engine, ref, generator, number=number) == Reranked(passages=2)
    assert len(generator.completed) == 1
    assert await contents(engine, ref) == [as_found[2], as_found[0]]
    (told,) = [data for kind, data in await events_of(engine, ref) if kind == "turn.retrieved"]
    assert [each["marker"] for each in told["citations"]] == [1, 2]
    assert (told["relevance"], told["unknown"]) == (0.5, False)
    await attempt(generation(engine, generator).generate, ref)
    await persist(engine, ref)
    turn, answer = await turn_of(engine, ref), await answer_of(engine, ref)
    assert turn.side_calls == [{"step": "rerank", "model": "fake/script", "input_tokens": 5, "output_tokens": 3}]
    assert (answer.input_tokens, answer.output_tokens) == (11 + 5, 7 + 3)
    assert answer.citations[0]["quote"] == as_found[2]


async def test_a_search_that_died_after_its_commit_is_done_again_and_leaves_no_passage_twice(
    engine: AsyncEngine,
) -> None:
    ref = await a_turn(engine)
    assert await found(engine, ref) == await found(engine, ref)
    assert sorted(await contents(engine, ref)) == sorted(TEXTS)


@pytest.mark.parametrize("failure", [ProviderError("Away."), SafetyBlocked("No."), "The third one.", "7"])
async def test_where_the_model_fails_the_order_of_the_search_holds(
    engine: AsyncEngine, failure: str | BaseException
) -> None:
    ref = await a_turn(engine)
    await found(engine, ref)
    as_found = await contents(engine, ref)
    assert await rerank(engine, ref, ordering(failure)) == Reranked(passages=2)
    assert await contents(engine, ref) == as_found[:2]


async def test_where_the_first_model_cannot_the_bots_next_one_puts_them_in_order(engine: AsyncEngine) -> None:
    ref = await a_turn(engine, fallback_models=["openai/gpt-5.4"])
    await found(engine, ref)
    as_found = await contents(engine, ref)
    generator = ordering(ProviderError("Away."), "3, 1")
    await rerank(engine, ref, generator)
    assert await contents(engine, ref) == [as_found[2], as_found[0]]
    assert [request.model for request in generator.completed] == ["fake/script", "openai/gpt-5.4"]


@pytest.mark.parametrize(("retrieval", "completes"), [({}, False), ({"rerank": False}, True)])
async def test_no_model_is_asked_where_there_is_none_or_the_bot_does_not_want_it(
    engine: AsyncEngine, retrieval: dict[str, Any], completes: bool
) -> None:
    ref = await a_turn(engine, **retrieval)
    given = await found(engine, ref, completes=completes)
    assert (given.passages, given.rerank) == (2, False)
    assert "turn.retrieved" in [kind for kind, _ in await events_of(engine, ref)]


async def test_a_turn_that_is_over_is_left_as_it_is(engine: AsyncEngine) -> None:
    ref = await a_turn(engine)
    await found(engine, ref)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    with pytest.raises(TurnClosed):
        await rerank(engine, ref, ordering("1"))
