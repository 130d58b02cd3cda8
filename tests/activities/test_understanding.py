"""Understanding a question on the real Postgres: paid for once, counted, and never a reason to fail."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.understanding import Understanding
from adapters.postgres import turn_passages
from adapters.postgres.tables import documents
from domain.conversation import TurnOutcome
from domain.errors import ProviderAuth, ProviderError, ProviderRateLimited, ProviderSilent, SafetyBlocked
from domain.ports import Vectors
from domain.steps import TurnRef, Understood
from tests.activities.turn_steps import (
    NOW,
    answer_of,
    answered,
    attempt,
    environment,
    generation,
    load,
    persist,
    retrieval,
    retrieve,
    turn_of,
)
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import ScriptedGenerator, WordEmbedder

TEXTS = ["The Polaris lamp lasts nine years.", "The Vega torch lasts two hours.", "Bulbs are sold by the dozen."]
CONDENSED = "How long does the Polaris lamp last?"


async def a_follow_up(
    engine: AsyncEngine, fallback_models: Sequence[str] = (), content: str = "And how long?", **retrieval: Any
) -> TurnRef:
    wanted = {"top_k": 1, "merge_neighbours": False} | retrieval
    owner, bot = await a_bot(engine, configuration={"retrieval": wanted, "fallback_models": fallback_models})
    await a_ready_document(engine, owner, bot, TEXTS, WordEmbedder())
    first = await a_question(engine, owner, bot, content="Which lamps are there?")
    await answered(engine, first, "The Polaris.")
    return await a_question(engine, owner, bot, first.conversation_id, content=content)


async def understand(engine: AsyncEngine, ref: TurnRef, generator: ScriptedGenerator, *, number: int = 1) -> Understood:
    return await attempt(Understanding(engine, generator, lambda: NOW).understand_question, ref, number=number)


async def found(engine: AsyncEngine, ref: TurnRef, generator: ScriptedGenerator, *, number: int = 1) -> list[str]:
    """Search for what a model understands; answers the passages."""
    step = retrieval(engine, Unreliable(), generator).understand_and_retrieve
    with suppress(ProviderError):
        await attempt(step, ref, number=number)
    async with engine.connect() as connection:
        return [passage.content for passage in await turn_passages.read(connection, ref.turn_id)]


class Unreliable(WordEmbedder):
    """A provider that cannot embed what is about a battery."""

    async def embed_query(self, text: str) -> Vectors:
        if "battery" in text:
            raise ProviderError("Away.")
        return await super().embed_query(text)


@pytest.mark.parametrize(
    ("retrieval", "completes", "wanted"),
    [({}, True, True), ({}, False, False), ({"condense": False}, True, False), ({"condense": False, "queries": 2}, True, True)],
)  # fmt: skip
async def test_a_follow_up_is_understood_where_the_bot_wants_it_and_a_model_can(
    engine: AsyncEngine, retrieval: dict[str, Any], completes: bool, wanted: bool
) -> None:
    assert (
        await load(engine, await a_follow_up(engine, **retrieval), completes=completes)
    ).searches_understood is wanted


@pytest.mark.parametrize(("queries", "wanted"), [(1, False), (2, True)])
async def test_a_first_question_needs_no_history_and_may_be_said_in_other_words(
    engine: AsyncEngine, queries: int, wanted: bool
) -> None:
    ref = await a_question(engine, *await a_bot(engine, configuration={"retrieval": {"queries": queries}}))
    assert (await load(engine, ref, completes=True)).searches_understood is wanted


async def test_an_agent_chooses_its_own_words(engine: AsyncEngine) -> None:
    configuration = {"agent_type": "react", "retrieval": {"queries": 4}}
    ref = await a_question(engine, *await a_bot(engine, configuration=configuration))
    assert not (await load(engine, ref, completes=True)).searches_understood


async def test_what_is_understood_is_searched_for_paid_once_and_counted(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Nine years [1]."], completions=[CONDENSED])
    for number in (1, 2):
        assert await understand(engine, ref, generator, number=number) == Understood(queries=1)
    assert len(generator.completed) == 1
    assert generator.completed[0].content.endswith("Last question:\nAnd how long?")
    assert "Answer: The Polaris." in generator.completed[0].content
    await retrieve(engine, ref)
    async with engine.connect() as connection:
        (passage,) = await turn_passages.read(connection, ref.turn_id)
    assert passage.content == TEXTS[0]
    await attempt(generation(engine, generator).generate, ref)
    assert generator.requests[0].question == "And how long?"
    await persist(engine, ref)
    turn, answer = await turn_of(engine, ref), await answer_of(engine, ref)
    assert turn.side_calls == [
        {"step": "understand_question", "model": "fake/script", "input_tokens": 5, "output_tokens": 3}
    ]
    assert (answer.input_tokens, answer.output_tokens) == (11 + 5, 7 + 3)


async def test_what_a_model_understands_is_searched_for_in_the_same_step_and_paid_once(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Nine years [1]."], completions=[CONDENSED])
    for number in (1, 2):
        assert await found(engine, ref, generator, number=number) == [TEXTS[0]]
    assert len(generator.completed) == 1
    turn = await turn_of(engine, ref)
    assert (turn.queries, [call["step"] for call in turn.side_calls]) == ([CONDENSED], ["understand_question"])


@pytest.mark.parametrize("failure", [ProviderError("Away."), SafetyBlocked("No."), "Sure!\nHere\nit is:", ""])
async def test_a_search_whose_question_is_not_understood_is_for_what_was_asked(
    engine: AsyncEngine, failure: str | BaseException
) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    assert len(await found(engine, ref, ScriptedGenerator(["Yes."], completions=[failure]))) == 1


async def test_a_question_that_was_not_understood_is_not_asked_for_again_where_the_search_fails(
    engine: AsyncEngine,
) -> None:
    ref = await a_follow_up(engine, content="And its battery?")
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Yes."], completions=[ProviderError("Away."), CONDENSED])
    for number in (1, 2):
        assert not await found(engine, ref, generator, number=number), "its provider is away"
    assert len(generator.completed) == 1
    assert ((await turn_of(engine, ref)).queries, (await turn_of(engine, ref)).side_calls) == (["And its battery?"], [])


async def test_a_search_that_hangs_is_given_up_before_the_step_is(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hung(WordEmbedder):
        async def embed_query(self, text: str) -> Vectors:  # noqa: ARG002  (as the port has it)
            return await asyncio.Event().wait()  # type: ignore[return-value]  # never

    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    monkeypatch.setattr("activities.retrieval._SEARCH", timedelta(milliseconds=50))
    step = retrieval(engine, Hung(), ScriptedGenerator(["Yes."], completions=[CONDENSED])).understand_and_retrieve
    with pytest.raises(ProviderSilent):
        await attempt(step, ref)


async def test_a_stop_while_a_question_is_understood_ends_the_step(engine: AsyncEngine) -> None:
    asked = asyncio.Event()

    class Thinking(ScriptedGenerator):
        async def complete(self, request: Any) -> Any:  # noqa: ARG002  (as the port has it)
            asked.set()
            await asyncio.Event().wait()

    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    env = environment()
    step = retrieval(engine, generator=Thinking(["Yes."])).understand_and_retrieve
    running = asyncio.create_task(env.run(step, ref))
    await asked.wait()
    env.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_another_attempt_searches_for_what_was_understood_before_and_pays_nothing(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Yes."], completions=["How long does its battery last?", CONDENSED])
    for number in (1, 2):
        assert not await found(engine, ref, generator, number=number), "its provider is away"
    assert len(generator.completed) == 1


async def test_an_attempt_after_two_that_failed_does_without_the_model(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Yes."], completions=[CONDENSED])
    assert len(await found(engine, ref, generator, number=3)) == 1
    assert not generator.completed


async def test_several_phrasings_are_searched_for_and_put_together(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine, queries=2, top_k=2)
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Yes."], completions=["Polaris lamp years\nVega torch hours"])
    assert await understand(engine, ref, generator) == Understood(queries=2)
    embedder = WordEmbedder()
    await attempt(retrieval(engine, embedder).retrieve, ref)
    assert embedder.calls == 2
    async with engine.connect() as connection:
        found = {passage.content for passage in await turn_passages.read(connection, ref.turn_id)}
    assert found == set(TEXTS[:2])


async def test_all_phrasings_are_searched_for_in_one_state_of_the_documents(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine, queries=2, top_k=6, merge_neighbours=True)
    await load(engine, ref, completes=True)
    await understand(engine, ref, ScriptedGenerator([""], completions=["Polaris lamp years\nVega torch hours"]))
    replacing = [f"{content} It is new." for content in TEXTS]

    class Replacing(WordEmbedder):
        """A new version is published between the two embeddings."""

        async def embed_query(self, text: str) -> Vectors:
            if self.calls == 1:
                owned = documents.c.owner_id == ref.owner_id
                async with engine.begin() as connection:
                    await connection.execute(update(documents).where(owned).values(active_ingestion_id=None))
                await a_ready_document(engine, ref.owner_id, ref.bot_id, replacing, WordEmbedder())
            return await super().embed_query(text)

    await attempt(retrieval(engine, Replacing()).retrieve, ref)
    async with engine.connect() as connection:
        (passage,) = await turn_passages.read(connection, ref.turn_id)
    assert passage.content.splitlines() == [replacing[0], *(f" {content}" for content in replacing[1:])]


@pytest.mark.parametrize(
    "failure",
    [ProviderError("Away."), ProviderRateLimited("A pause, please."), SafetyBlocked("No."), "Sure!\nHere\nit is:", ""],
)
async def test_a_question_that_is_not_understood_is_searched_for_as_it_was_asked(
    engine: AsyncEngine, failure: str | BaseException
) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref, completes=True)
    assert await understand(engine, ref, ScriptedGenerator(["Yes."], completions=[failure])) == Understood(queries=1)
    assert (await turn_of(engine, ref)).queries in (None, ["And how long?"])
    assert (await retrieve(engine, ref)).passages == 1


@pytest.mark.parametrize("failure", [ProviderError("Away."), ProviderAuth("Set the key.")])
async def test_where_the_first_model_cannot_the_bots_next_one_understands_at_once(
    engine: AsyncEngine, failure: ProviderError
) -> None:
    ref = await a_follow_up(engine, fallback_models=["openai/gpt-5.4"])
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator(["Yes."], completions=[failure, CONDENSED])
    await understand(engine, ref, generator)
    assert (await turn_of(engine, ref)).queries == [CONDENSED]
    assert [request.model for request in generator.completed] == ["fake/script", "openai/gpt-5.4"]


async def test_a_turn_that_is_over_is_left_as_it_is(engine: AsyncEngine) -> None:
    ref = await a_follow_up(engine)
    await load(engine, ref)

    class Late(ScriptedGenerator):
        async def complete(self, request: Any) -> Any:
            completion = await super().complete(request)
            await persist(engine, ref, TurnOutcome.PARTIAL)
            return completion

    await understand(engine, ref, Late(["Yes."], completions=[CONDENSED]))
    assert (await turn_of(engine, ref)).queries is None
