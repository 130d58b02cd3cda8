"""A bot's next model answers where the first cannot. The clients are real, and so is what they call, but for the answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.generation import Generation
from activities.titles import Titles
from adapters.models.budgeted import budgeted
from adapters.models.providers import open_models
from adapters.postgres.deltas import Deltas
from adapters.postgres.tables import bots
from adapters.settings import Settings
from domain.errors import ProviderAuth, ProviderError, ProviderRateLimited, SafetyBlocked
from domain.ports import Generator
from domain.steps import ModelStepRef, TurnRef
from tests import gemini_double as g
from tests.activities.agent_steps import SEARCH, agent, an_agents_turn, search
from tests.activities.test_generation import deltas, until
from tests.activities.turn_steps import NOW, answer_of, attempt, events_of, load, persist, turn_of
from tests.anthropic_double import AnthropicDouble, running_anthropic
from tests.builders import a_bot, a_question
from tests.gemini_double import GeminiDouble, running_double
from tests.openai_double import OpenAIDouble, running_openai

FIRST, SECOND, THIRD = "gemini/gemini-2.5-flash", "openai/gpt-5.4", "anthropic/claude-haiku-5-5"


@dataclass(slots=True)
class House:
    """Three providers, and the time."""

    engine: AsyncEngine
    generator: Generator
    first: GeminiDouble
    second: OpenAIDouble
    third: AnthropicDouble
    time: datetime = NOW

    def __post_init__(self) -> None:
        self.step = Generation(
            self.engine,
            Deltas(self.engine),
            self.generator,
            lambda: self.time,
            silence=timedelta(seconds=20),
            titles=Titles(self.engine, self.generator, lambda: self.time),
        )

    step: Any = None

    async def turn(self, *fallbacks: str, model: str | None = FIRST) -> TurnRef:
        configuration = {"fallback_models": list(fallbacks or (SECOND, THIRD))}
        ref = await a_question(self.engine, *await a_bot(self.engine, model=model, configuration=configuration))
        await load(self.engine, ref)
        return ref

    async def generate(self, ref: TurnRef, number: int = 1) -> None:
        await attempt(self.step.generate, ref, number=number)

    async def answered_by(self, ref: TurnRef, number: int = 1) -> str:
        """End the turn, and tell the model that its message names."""
        await self.generate(ref, number)
        await persist(self.engine, ref)
        model: str = (await answer_of(self.engine, ref)).model
        return model

    @property
    def calls(self) -> tuple[int, int, int]:
        return self.first.calls["generate"], self.second.calls["generate"], self.third.calls["generate"]


@pytest_asyncio.fixture
async def house(engine: AsyncEngine) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_double())
        second = await stack.enter_async_context(running_openai())
        third = await stack.enter_async_context(running_anthropic())
        for number, double in enumerate((first, second, third), start=1):
            double.answer = f"Answer of the {number}."
        key = SecretStr("key")
        settings = Settings(
            _env_file=None, provider="gemini", gemini_api_key=key, gemini_base_url=first.url, openai_api_key=key,
            openai_base_url=f"{second.url}/v1", anthropic_api_key=key, anthropic_base_url=third.url,
        )  # fmt: skip
        opened = await stack.enter_async_context(open_models(settings))
        models = budgeted(opened, engine, settings, lambda: NOW)
        yield House(engine, models.generator, first, second, third)


async def test_the_first_model_answers_where_it_can(house: House) -> None:
    assert await house.answered_by(await house.turn()) == FIRST
    assert house.calls == (1, 0, 0)


async def test_a_provider_that_is_down_is_asked_twice_and_then_the_next_one_answers(house: House) -> None:
    ref = await house.turn()
    house.first.script("generate", g.error(503), g.dropped())
    with pytest.raises(ProviderError, match="Gemini"):
        await house.generate(ref)
    assert await house.answered_by(ref, number=2) == SECOND
    assert house.calls == (2, 1, 0)
    assert (await answer_of(house.engine, ref)).content == "Answer of the 2."
    assert "message.reset" not in [type_ for type_, _ in await events_of(house.engine, ref)]


@pytest.mark.parametrize(
    "fault",
    [
        g.error(401, "UNAUTHENTICATED"),
        g.error(404, "NOT_FOUND"),
        g.quota_of_the_day(),
        g.rate_limited("30s"),
    ],
    ids=["auth", "no such model", "quota", "a long pause"],
)
async def test_what_no_attempt_mends_makes_way_at_once(house: House, fault: g.Fault) -> None:
    house.first.script("generate", fault)
    assert await house.answered_by(await house.turn()) == SECOND
    assert house.calls == (1, 1, 0)


async def test_a_short_pause_is_waited_for(house: House) -> None:
    house.first.script("generate", g.rate_limited("2s"))
    with pytest.raises(ProviderRateLimited) as caught:
        await house.generate(await house.turn())
    assert caught.value.retry_after == timedelta(seconds=2)
    assert house.calls == (1, 0, 0)


async def test_a_provider_without_a_key_here_makes_way(house: House) -> None:
    assert await house.answered_by(await house.turn(THIRD, model="mistral/large")) == THIRD


async def test_what_a_provider_does_not_want_to_say_no_other_is_asked_for(house: House) -> None:
    house.first.script("generate", g.prompt_blocked())
    with pytest.raises(SafetyBlocked):
        await house.generate(await house.turn(), number=2)
    assert house.calls == (1, 0, 0)


async def test_what_was_shown_is_taken_back_when_the_next_model_takes_over(house: House, database_url: str) -> None:
    ref = await house.turn()
    house.first.answer = "Half of an answer, which is long enough to be shown, and never whole."
    house.first.script("generate", replace(g.error_midway(503, after=10), held=True))
    running = asyncio.create_task(house.generate(ref, number=2))
    await until(house.engine, database_url, ref, lambda seen: "".join(seen).startswith("Half of an answer"))
    house.first.release.set()
    await running
    await persist(house.engine, ref)
    told = [(type_, data.get("text")) for type_, data in await events_of(house.engine, ref)]
    reset = told.index(("message.reset", None))
    assert "".join(text or "" for _, text in told[:reset]).startswith("Half of an answer")
    assert "".join(text or "" for _, text in told[reset:]) == "Answer of the 2."
    answer = await answer_of(house.engine, ref)
    assert (answer.content, answer.model) == ("Answer of the 2.", SECOND)


async def test_where_all_are_down_the_last_ones_failure_is_told(house: House) -> None:
    ref = await house.turn()
    for double in (house.first, house.second, house.third):
        double.script("generate", *[g.error(503)] * 3)
    with pytest.raises(ProviderError, match="Gemini"):
        await house.generate(ref)
    with pytest.raises(ProviderError, match="Anthropic failed") as caught:
        await house.generate(ref, number=2)
    assert (caught.value.code, caught.value.retryable) == ("provider_unavailable", True)
    assert house.calls == (2, 1, 1)
    assert (await turn_of(house.engine, ref)).draft is None


async def test_a_key_that_is_wrong_does_not_spoil_the_hope_in_another_provider(house: House) -> None:
    """With the first one down, and only that, the turn would be tried again."""
    ref = await house.turn(SECOND)
    house.first.script("generate", g.error(503))
    house.second.script("generate", g.error(401, "UNAUTHENTICATED"))
    with pytest.raises(ProviderError, match="Gemini") as caught:
        await house.generate(ref, number=2)
    assert caught.value.retryable
    assert await house.answered_by(ref, number=3) == FIRST


async def test_where_nothing_helps_the_reason_is_final(house: House) -> None:
    house.first.script("generate", g.quota_of_the_day())
    house.second.script("generate", g.error(401, "UNAUTHENTICATED"))
    with pytest.raises(ProviderAuth, match="CHATSPHERE_OPENAI_API_KEY"):
        await house.generate(await house.turn(SECOND))


async def test_a_model_that_is_paused_is_not_asked_at_all_by_the_next_turns(house: House) -> None:
    house.first.script("generate", g.quota_of_the_day())
    assert [await house.answered_by(await house.turn()) for _ in range(3)] == [SECOND] * 3
    assert house.calls == (1, 3, 0)


async def test_a_model_that_gave_way_is_asked_last_for_a_while(house: House) -> None:
    house.first.script("generate", g.error(401, "UNAUTHENTICATED"))
    assert await house.answered_by(await house.turn()) == SECOND
    assert await house.answered_by(await house.turn()) == SECOND
    assert house.calls == (1, 2, 0)
    for double in (house.second, house.third):
        double.script("generate", g.error(401, "UNAUTHENTICATED"))
    assert await house.answered_by(await house.turn()) == FIRST, "last is not never"
    house.time += timedelta(seconds=31)
    assert await house.answered_by(await house.turn()) == FIRST


async def test_a_draft_that_is_stored_is_not_paid_again_by_another_model(house: House) -> None:
    ref = await house.turn()
    house.first.script("generate", g.error(401, "UNAUTHENTICATED"))
    await house.generate(ref)
    await house.generate(ref, number=2)
    assert house.calls == (1, 1, 0)
    assert "".join(await deltas(house.engine, ref)) == "Answer of the 2."


async def test_an_agents_step_is_made_by_the_next_model_which_knows_what_the_first_one_asked(house: House) -> None:
    ref = await an_agents_turn(house.engine, ["The warranty lasts two years."])
    await set_models(house.engine, ref, FIRST, [THIRD])
    step = agent(house.engine, house.generator)
    house.first.tool_steps.append([("search_documents", {"query": "warranty"})])
    await attempt(step.model_step, ModelStepRef(ref=ref, number=0))
    await search(house.engine, ref)
    house.first.script("generate", g.error(401, "UNAUTHENTICATED"))
    stepped = await attempt(step.model_step, ModelStepRef(ref=ref, number=1))
    assert stepped.answered
    await persist(house.engine, ref)
    assert (await answer_of(house.engine, ref)).model == THIRD
    asked, given = house.third.requests[0].body["messages"][-2:]
    assert [block["type"] for block in asked["content"]] == ["tool_use"]
    assert "two years" in given["content"][0]["content"]


async def test_an_agent_passes_over_models_that_take_no_tools(house: House) -> None:
    ref = await an_agents_turn(house.engine, ["The warranty lasts two years."])
    await set_models(house.engine, ref, "local/extractive", [SECOND])
    step = agent(house.engine, house.generator)
    assert (await attempt(step.model_step, ModelStepRef(ref=ref, number=0))).answered
    assert house.calls == (0, 1, 0)


async def set_models(engine: AsyncEngine, ref: TurnRef, model: str, fallbacks: list[str]) -> None:
    configuration = {"agent_type": "react", "tools": [SEARCH], "fallback_models": fallbacks}
    async with engine.begin() as connection:
        await connection.execute(
            update(bots).where(bots.c.id == ref.bot_id).values(model=model, configuration=configuration)
        )
