"""OpenAI and Anthropic that fail in the middle of an answer: what the client ends with is what is stored."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests import gemini_double as g
from tests.anthropic_double import running_anthropic
from tests.faults.fickle import HANDBOOK, QUOTE, TOKENS, Fickle, asked
from tests.gemini_double import Fault, GeminiDouble
from tests.openai_double import running_openai
from tests.person import Person, shown
from tests.processes import deployment

MODELS = {"openai": "openai/gpt-5.4-mini", "anthropic": "anthropic/claude-haiku-5-5"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A provider, a bot whose model is one of its own, and whoever asks it."""

    double: GeminiDouble
    model: Fickle
    person: Person
    bot: str


@pytest_asyncio.fixture(scope="module")
async def others() -> AsyncIterator[dict[str, Asked]]:
    """One deployment before three providers; it gives a silent one up after five seconds."""
    async with AsyncExitStack() as stack:
        doubles: dict[str, GeminiDouble] = {
            "openai": await stack.enter_async_context(running_openai()),
            "anthropic": await stack.enter_async_context(running_anthropic()),
        }
        ready = deployment(
            MODEL_TIMEOUT="PT5S",
            OPENAI_API_KEY="test-key",
            OPENAI_BASE_URL=f"{doubles['openai'].url}/v1",
            ANTHROPIC_API_KEY="test-key",
            ANTHROPIC_BASE_URL=doubles["anthropic"].url,
        )
        deployed = await stack.enter_async_context(ready)
        client = await stack.enter_async_context((await deployed.an_api()).client())
        person = await Person.arrives(client)
        asked_of = {}
        for name, double in doubles.items():
            bot = (await person.post("/bots", json={"name": name, "model": MODELS[name]}))["id"]
            files = {"file": ("handbook.txt", HANDBOOK)}
            await person.ready((await person.post(f"/bots/{bot}/documents", files=files))["id"])
            asked_of[name] = Asked(double, Fickle(), person, bot)
        yield asked_of


@pytest.fixture(params=MODELS)
def provider(request: pytest.FixtureRequest, others: dict[str, Asked]) -> Asked:
    of = others[request.param]
    of.double.reset()
    of.model.calls = 0
    of.double.answering = of.model
    return of


PASSING = {
    "it stalls": g.stalled(after=20),
    "half a frame": g.broken_frame('{"choices": [{"delta": {"con', after=20),
    "the connection is cut after 2,000 tokens": g.dropped_midway(after=TOKENS),
    "the stream ends without an end": g.cut_short(after=20),
    "an error after 2,000 tokens": g.error_midway(500, after=TOKENS),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
async def test_what_may_pass_is_tried_again_and_the_client_drops_what_it_saw(provider: Asked, fault: Fault) -> None:
    events, answer = await asked(provider.person, provider.double, fault, bot=provider.bot)
    assert events[-1].event == "message.completed"
    assert [sent.data for sent in events if sent.event == "message.reset"] == [{"attempt": 2}]
    before = shown(events[: [sent.event for sent in events].index("message.reset")])
    assert before.split() == provider.model.answer(1).split()[: fault.after]
    assert answer == events[-1].data["message"]
    assert (answer["content"], answer["status"]) == (provider.model.answer(2), "complete")
    assert [citation["quote"] for citation in answer["citations"]] == [QUOTE]
    assert provider.double.calls["generate"] == provider.model.calls == 2


async def test_a_provider_that_takes_2000_tokens_back_for_safety_fails_the_answer_and_says_so(provider: Asked) -> None:
    events, answer = await asked(
        provider.person, provider.double, g.finished_for("SAFETY", after=TOKENS), bot=provider.bot
    )
    assert events[-1].event == "turn.failed"
    error = events[-1].data["error"]
    assert (error["code"], answer["status"], answer["error"]) == ("safety_blocked", "failed", error)
    assert answer["content"].split() == provider.model.answer(1).split()[:TOKENS]
    assert provider.model.calls == 1, "it was asked again for what it had declined"


async def test_an_answer_that_is_cut_at_the_token_limit_is_an_answer(provider: Asked) -> None:
    events, answer = await asked(
        provider.person, provider.double, g.finished_for("MAX_TOKENS", after=TOKENS), bot=provider.bot
    )
    assert events[-1].event == "message.completed"
    assert answer == events[-1].data["message"]
    assert answer["content"].split() == provider.model.answer(1).split()[:TOKENS]
    assert (answer["status"], provider.model.calls) == ("complete", 1)
