"""The rolling summary on the real Postgres: made once, used by every branch that it belongs to, paid for once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities import summaries as activity_module
from activities.summaries import Summaries
from adapters.ids import new_id
from adapters.postgres import accounts, turn_requests
from adapters.postgres import engine as engine_module
from adapters.postgres.tables import summaries, turns
from domain.conversation import Place, TurnOutcome
from domain.errors import ProviderError, ProviderMalformed, TurnClosed
from domain.ids import BotId, ConversationId, TurnId, UserId, answer_id
from domain.ports import AnswerRequest
from domain.steps import LoadedHistory, Summarized, TurnRef
from tests.activities.agent_steps import SEARCH, ask
from tests.activities.turn_steps import NOW, answered, attempt, generation, load, persist
from tests.builders import a_bot, a_question
from tests.fakes import ScriptedGenerator

SMALL = {"history_messages": 4, "history_tokens": 1000, "retrieval": {"condense": False}}
"""A window of two turns."""


class Talk:
    """A conversation that goes on, one turn after the other."""

    def __init__(self, engine: AsyncEngine, owner: UserId, bot: BotId) -> None:
        self.engine, self.owner, self.bot = engine, owner, bot
        self.conversation: ConversationId | None = None
        self.generator = ScriptedGenerator(["Done."], completions=["Notes one.", "Notes two."])

    async def ask(self, content: str, **given: Any) -> TurnRef:
        ref = await a_question(self.engine, self.owner, self.bot, self.conversation, content, **given)
        self.conversation = ref.conversation_id
        return ref

    async def turns(self, first: int, last: int) -> list[TurnRef]:
        """Whole turns, without any summary."""
        refs = []
        for number in range(first, last + 1):
            refs.append(await self.ask(f"Q{number}?"))
            await answered(self.engine, refs[-1], f"A{number}.")
        return refs

    async def begin(self, ref: TurnRef) -> LoadedHistory:
        return await load(self.engine, ref, completes=True)

    async def summarize(self, ref: TurnRef, number: int = 1) -> Summarized:
        step = Summaries(self.engine, self.generator, lambda: NOW).summarize_history
        return await attempt(step, ref, number=number)

    async def request(self, ref: TurnRef) -> AnswerRequest:
        """What the model is asked; ends the turn."""
        await attempt(generation(self.engine, self.generator).generate, ref)
        await persist(self.engine, ref)
        return self.generator.requests[-1]


async def a_talk(engine: AsyncEngine, **configuration: Any) -> Talk:
    return Talk(engine, *await a_bot(engine, configuration=SMALL | configuration))


async def stored(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(summaries))).scalar_one())


def told(request: AnswerRequest) -> tuple[str, list[str]]:
    return request.summary, [message.content for message in request.history]


async def test_what_the_window_leaves_out_is_summarised_and_the_rest_follows(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    loaded = await talk.begin(ref)
    assert (loaded.messages, loaded.summarize) == (4, True)
    assert await talk.summarize(ref) == Summarized(messages=4)
    asked = talk.generator.completed[0].content
    assert [content in asked for content in ("Q1?", "A1.", "Q2?", "A2.", "Q3?", "A3.")] == [True] * 4 + [False] * 2
    assert told(await talk.request(ref)) == ("Notes one.", ["Q3?", "A3."])


async def test_a_summary_serves_until_the_window_is_full_again_and_the_next_one_takes_it_in(
    engine: AsyncEngine,
) -> None:
    talk = await a_talk(engine)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    await talk.summarize(ref)
    await talk.request(ref)
    fifth = await talk.ask("Q5?")
    assert await talk.begin(fifth) == LoadedHistory(messages=4, tokens=5)
    assert told(await talk.request(fifth)) == ("Notes one.", ["Q3?", "A3.", "Q4?", "Done."])
    sixth = await talk.ask("Q6?")
    assert (await talk.begin(sixth)).summarize
    assert await talk.summarize(sixth) == Summarized(messages=4)
    asked = talk.generator.completed[1].content
    assert [content in asked for content in ("Notes one.", "Q2?", "Q3?", "Q4?", "Q5?")] == [
        True, False, True, True, False,
    ]  # fmt: skip
    assert told(await talk.request(sixth)) == ("Notes two.", ["Q5?", "Done."])
    assert await stored(engine) == 2


async def test_a_second_attempt_does_not_pay_again(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    first, second = await talk.summarize(ref), await talk.summarize(ref, 2)
    assert (first, second) == (Summarized(messages=4), Summarized())
    assert len(talk.generator.completed) == 1
    assert told(await talk.request(ref)) == ("Notes one.", ["Q3?", "A3."])


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
async def test_a_crash_at_any_write_leaves_one_summary(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    talk = await a_talk(engine)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    for at in (1, 2):
        seen = 0

        @asynccontextmanager
        async def crashing(engine: AsyncEngine, at: int = at) -> AsyncIterator[AsyncConnection]:
            nonlocal seen
            seen += 1
            async with engine_module.transaction(engine) as connection:
                yield connection
                if seen == at and not committed:
                    raise ConnectionAbortedError
            if seen == at:
                raise ConnectionAbortedError

        with monkeypatch.context() as patch:
            patch.setattr(activity_module, "transaction", crashing)
            patch.setattr(activity_module, "patiently", lambda what, **_: what())
            with pytest.raises(ConnectionAbortedError):
                await talk.summarize(ref, at)
    await talk.summarize(ref, 3)
    assert await stored(engine) == 1
    assert len(talk.generator.completed) == (1 if committed else 2)
    assert told(await talk.request(ref)) == ("Notes one." if committed else "Notes two.", ["Q3?", "A3."])


async def test_a_summary_holds_for_each_branch_that_leaves_after_it_and_for_no_other(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    first, _, third = await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    await talk.summarize(ref)  # as far as the second answer
    await talk.request(ref)
    beside = await talk.ask("Q4, otherwise?", after=answer_id(third.turn_id))
    assert not (await talk.begin(beside)).summarize
    assert told(await talk.request(beside)) == ("Notes one.", ["Q3?", "A3."])
    before = await talk.ask("Q2, otherwise?", after=answer_id(first.turn_id))
    await talk.begin(before)
    assert told(await talk.request(before)) == ("", ["Q1?", "A1."])
    anew = await talk.ask("Q1, otherwise?", after=Place.BEGINNING)
    await talk.begin(anew)
    assert told(await talk.request(anew)) == ("", [])
    assert len(talk.generator.completed) == 1


async def test_a_question_that_a_summary_ends_with_is_no_part_of_its_own_history(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    first, *_ = await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    async with engine.begin() as connection:
        question = await connection.scalar(select(turns.c.question_id).where(turns.c.id == first.turn_id))
        await connection.execute(summaries.insert().values(message_id=question, content="It!", model="m"))
    await persist(engine, ref, TurnOutcome.PARTIAL)
    async with engine.begin() as connection:
        again = await turn_requests.accept_again(
            connection, talk.owner, answer_id(first.turn_id), turn_id=TurnId(new_id())
        )
    await talk.begin(again)
    assert told(await talk.request(again)) == ("", [])


@pytest.mark.parametrize(
    ("completes", "configuration"),
    [(False, {}), (True, {"summarize": False}), (True, {"history_messages": 0}), (True, {"history_tokens": 0})],
)
async def test_no_summary_is_made_where_none_is_wanted_or_nobody_writes_it(
    engine: AsyncEngine, completes: bool, configuration: dict[str, Any]
) -> None:
    talk = await a_talk(engine, **configuration)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    loaded = await load(engine, ref, completes=completes)
    assert (loaded.summarize, loaded.messages) == (False, 0 if "history" in str(configuration) else 4)


async def test_the_budget_of_tokens_is_the_bot_s_own(engine: AsyncEngine) -> None:
    talk = await a_talk(engine, history_messages=50, history_tokens=3, summarize=False)
    await talk.turns(1, 3)
    loaded = await talk.begin(await talk.ask("Q4?"))
    assert loaded == LoadedHistory(messages=3, tokens=3)


async def test_a_provider_that_is_down_is_asked_twice_and_then_the_bots_next_model_takes_the_notes(
    engine: AsyncEngine,
) -> None:
    talk = await a_talk(engine, fallback_models=["local/extractive", "openai/gpt-5.4"])
    talk.generator.completions = [ProviderError("Away."), ProviderError("Away."), "Notes."]
    talk.generator.quoting = {"local/extractive"}
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    with pytest.raises(ProviderError):
        await talk.summarize(ref)
    assert await talk.summarize(ref, 2) == Summarized(messages=4)
    assert [request.model for request in talk.generator.completed] == ["fake/script"] * 2 + ["openai/gpt-5.4"]
    assert told(await talk.request(ref)) == ("Notes.", ["Q3?", "A3."])


async def test_a_summary_that_failed_leaves_the_window_as_it_was(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    talk.generator.completions = [" \n"]
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    with pytest.raises(ProviderMalformed):
        await talk.summarize(ref)
    assert told(await talk.request(ref)) == ("", ["Q2?", "A2.", "Q3?", "A3."])


async def test_a_turn_that_is_over_stores_no_summary(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    with pytest.raises(TurnClosed):
        await talk.summarize(ref)
    stranger, _ = await a_bot(engine)
    with pytest.raises(TurnClosed):
        await talk.summarize(ref.model_copy(update={"owner_id": stranger}))
    assert (talk.generator.completed, await stored(engine)) == ([], 0)


async def test_an_agent_has_the_summary_as_well(engine: AsyncEngine) -> None:
    talk = await a_talk(engine, agent_type="react", tools=[SEARCH])
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    await talk.summarize(ref)
    await ask(engine, ref, talk.generator)
    assert told(talk.generator.requests[-1]) == ("Notes one.", ["Q3?", "A3."])


async def test_what_a_summary_cost_is_in_the_owner_s_usage(engine: AsyncEngine) -> None:
    talk = await a_talk(engine)
    await talk.turns(1, 3)
    ref = await talk.ask("Q4?")
    await talk.begin(ref)
    async with engine.connect() as connection:
        before = (await accounts.usage(connection, talk.owner)).model_tokens
    await talk.summarize(ref)
    async with engine.connect() as connection:
        assert (await accounts.usage(connection, talk.owner)).model_tokens == before + 8
