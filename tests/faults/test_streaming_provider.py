"""A provider that fails in the middle of an answer: what the client ends with is what is stored."""

from collections.abc import AsyncIterator
from itertools import repeat

import pytest
import pytest_asyncio

from tests import gemini_double as g
from tests.faults.fickle import HANDBOOK, QUESTION, QUOTE, TOKENS, Fickle, asked
from tests.gemini_double import Fault, GeminiDouble
from tests.person import Person, shown
from tests.processes import Deployment, deployment


@pytest_asyncio.fixture(scope="module")
async def impatient() -> AsyncIterator[Deployment]:
    """A deployment that gives a silent provider up after five seconds."""
    async with deployment(MODEL_TIMEOUT="PT5S") as deployed:
        deployed.double.keep_requests = True
        yield deployed


@pytest_asyncio.fixture(scope="module")
async def person(impatient: Deployment) -> AsyncIterator[Person]:
    async with (await impatient.an_api()).client() as client:
        person = await Person.arrives(client)
        await person.ready(await person.upload("handbook.txt", HANDBOOK))
        yield person


@pytest_asyncio.fixture
async def model(impatient: Deployment) -> Fickle:
    """A provider of whose earlier failures nobody knows any more."""
    impatient.double.reset()
    impatient.double.answering = model = Fickle()
    await impatient.forget_refusals()
    return model


@pytest.fixture
def double(impatient: Deployment) -> GeminiDouble:
    return impatient.double


PASSING = {
    "it stalls": g.stalled(after=20),
    "it stalls after 2,000 tokens": g.stalled(after=TOKENS),
    "half a frame": g.broken_frame('{"candidates": [{"content": {"par', after=20),
    "a frame of another shape": g.broken_frame('{"candidates": [{"content": {"parts": "a word"}}]}', after=20),
    "a frame that is no object": g.broken_frame("[1, 2]", after=20),
    "a frame of no text": g.broken_frame("<html>Bad gateway</html>", after=TOKENS),
    "the connection is cut": g.dropped_midway(after=TOKENS),
    "the stream ends without an end": g.cut_short(after=TOKENS),
    "an error after 2,000 tokens": g.error_midway(500, after=TOKENS),
    "a refusal for the moment after 2,000 tokens": g.error_midway(429, after=TOKENS),
    "another end after 2,000 tokens": g.finished_for("OTHER", after=TOKENS),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
async def test_what_may_pass_is_tried_again_and_the_client_drops_what_it_saw(
    person: Person, double: GeminiDouble, model: Fickle, fault: Fault
) -> None:
    events, answer = await asked(person, double, fault)
    assert events[-1].event == "message.completed"
    assert [sent.data for sent in events if sent.event == "message.reset"] == [{"attempt": 2}]
    before = shown(events[: [sent.event for sent in events].index("message.reset")])
    assert before.split() == model.answer(1).split()[: fault.after]
    assert answer == events[-1].data["message"]
    assert (answer["content"], answer["status"]) == (model.answer(2), "complete")
    assert [citation["quote"] for citation in answer["citations"]] == [QUOTE]
    assert double.calls["generate"] == model.calls == 2


@pytest.mark.parametrize("frame", ["{}", '{"candidates": []}', '{"news": {"of": "tomorrow"}}'])
async def test_a_frame_that_says_nothing_is_passed_over(
    person: Person, double: GeminiDouble, model: Fickle, frame: str
) -> None:
    double.script("generate", g.broken_frame(frame, after=20))
    events, answer = await asked(person, double)
    assert events[-1].event == "message.completed"
    assert (answer["content"], model.calls) == (model.answer(1), 1)


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT"])
async def test_a_provider_that_takes_2000_tokens_back_for_safety_fails_the_answer_and_says_so(
    person: Person, double: GeminiDouble, model: Fickle, reason: str
) -> None:
    events, answer = await asked(person, double, g.finished_for(reason, after=TOKENS))
    assert events[-1].event == "turn.failed"
    error = events[-1].data["error"]
    assert error["code"] == "safety_blocked"
    assert reason in error["message"]
    assert (answer["status"], answer["error"]) == ("failed", error)
    assert answer["content"].split() == model.answer(1).split()[:TOKENS]
    assert model.calls == 1, "it was asked again for what it had declined"


async def test_a_provider_that_never_comes_to_an_end_fails_the_answer_after_three_calls(
    person: Person, double: GeminiDouble, model: Fickle
) -> None:
    events, answer = await asked(person, double, *repeat(g.error_midway(503, after=20), 3))
    assert events[-1].event == "turn.failed"
    assert events[-1].data["error"]["code"] == "provider_unavailable"
    assert [sent.data["attempt"] for sent in events if sent.event == "message.reset"] == [2, 3]
    assert answer["status"] == "failed"
    assert answer["content"].split() == model.answer(3).split()[:20]
    assert model.calls == 3


async def test_an_answer_that_is_cut_at_the_token_limit_is_an_answer(
    person: Person, double: GeminiDouble, model: Fickle
) -> None:
    events, answer = await asked(person, double, g.finished_for("MAX_TOKENS", after=TOKENS))
    assert events[-1].event == "message.completed"
    assert answer == events[-1].data["message"]
    assert answer["content"].split() == model.answer(1).split()[:TOKENS]
    assert (answer["status"], model.calls) == ("complete", 1)


async def test_a_failed_answer_is_not_told_to_the_model_again(
    person: Person, double: GeminiDouble, model: Fickle
) -> None:
    conversation = await person.conversation()
    double.script("generate", g.finished_for("SAFETY", after=10))
    ends = []
    for _ in range(3):
        async with person.asks(conversation, QUESTION) as stream:
            ends.append([sent.event async for sent in stream][-1])
    assert ends == ["turn.failed", "message.completed", "message.completed"]
    last = [each.body["contents"] for each in double.requests if each.endpoint == "generate"][-1]
    assert [content["role"] for content in last] == ["user", "model", "user"]
    assert last[1]["parts"][0]["text"] == model.answer(2)
