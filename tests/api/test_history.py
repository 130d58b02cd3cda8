"""Titles and summaries over HTTP: real workflows, a model that writes both, and one that fails at both."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.temporal.client import ensure_search_attributes
from adapters.wiring import Adapters
from domain.errors import ProviderRejected
from domain.runs import turn_run
from tests.api.conftest import Caller
from tests.api.turn_service import answering
from tests.builders import a_bot, a_conversation, a_ready_document
from tests.fakes import ScriptedGenerator, WordEmbedder
from tests.servers import temporal_server

SECRET = "a-word-that-no-history-may-hold"


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def generator(adapters: Adapters) -> ScriptedGenerator:
    """A model that writes whatever it is asked for."""
    assert isinstance(adapters.generator, ScriptedGenerator)
    adapters.generator.completes = True
    return adapters.generator


async def a_talk(owner: Caller, engine: AsyncEngine, **configuration: Any) -> str:
    asks_its_model = {"retrieval": {"threshold": 0, "condense": False}}
    _, bot = await a_bot(engine, owner.id, configuration=configuration | asks_its_model)
    return f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot)}"


async def ask(owner: Caller, url: str, content: str) -> dict[str, Any]:
    response = await owner.http.post(f"{url}/messages", json={"content": content})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_the_first_answer_names_the_conversation_and_a_person_has_the_last_word(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, generator: ScriptedGenerator
) -> None:
    url = await a_talk(owner, engine)
    generator.completions = ['"Length of the warranty"', "Another"]
    async with answering(adapters, ["Two years."]):
        await ask(owner, url, "How long is the warranty?")
        assert (await owner.http.get(url)).json()["title"] == "Length of the warranty"
        await owner.http.patch(url, json={"title": None})
        await ask(owner, url, "And then?")
    assert (await owner.http.get(url)).json()["title"] is None
    assert len(generator.completed) == 1


async def test_without_such_a_model_the_question_is_the_title(
    owner: Caller, adapters: Adapters, engine: AsyncEngine
) -> None:
    url = await a_talk(owner, engine)
    async with answering(adapters, ["Two years."]):
        await ask(owner, url, "How long is\nthe warranty?")
    assert (await owner.http.get(url)).json()["title"] == "How long is the warranty?"


async def test_a_long_talk_goes_on_with_a_summary_and_no_history_holds_a_word_of_it(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, generator: ScriptedGenerator
) -> None:
    url = await a_talk(owner, engine, history_messages=2)
    generator.completions = ["A title", f"They spoke of {SECRET}."]
    async with answering(adapters, ["A1."], ["A2."], ["A3."], ["A4."]):
        for number in range(1, 4):
            await ask(owner, url, f"Q{number} {SECRET}?")
    last = generator.requests[-1]
    assert (last.summary, [message.content for message in last.history]) == (f"They spoke of {SECRET}.", [])
    assert generator.completed[1].content.count(SECRET) == 2
    handle = adapters.temporal.get_workflow_handle(turn_run(url.split("/")[-1]))  # type: ignore[arg-type]  # an id as text
    history = await handle.fetch_history()
    names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events]
    assert "summarize_history" in names
    assert len(history.events) <= 26
    assert SECRET.encode() not in b"".join(event.SerializeToString() for event in history.events)


async def test_an_answer_does_without_a_title_and_a_summary_that_fail(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, generator: ScriptedGenerator
) -> None:
    url = await a_talk(owner, engine, history_messages=2)
    generator.completions = [ProviderRejected("This one only quotes.")]
    async with answering(adapters, ["A1."], ["A2."], ["A3."]):
        answers = [await ask(owner, url, f"Q{number}?") for number in range(1, 4)]
    assert [answer["status"] for answer in answers] == ["complete"] * 3
    assert [message.content for message in generator.requests[2].history] == ["Q2?", "A2."]
    assert (await owner.http.get(url)).json()["title"] == "Q1?"


async def test_what_was_found_is_put_in_order_and_a_turn_shows_what_that_cost(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, generator: ScriptedGenerator
) -> None:
    wanted = {"threshold": 0, "rerank": True, "merge_neighbours": False}
    _, bot = await a_bot(engine, owner.id, configuration={"retrieval": wanted})
    texts = ["The warranty lasts two years.", "A warranty claim needs a receipt."]
    await a_ready_document(engine, owner.id, bot, texts, WordEmbedder())
    url = f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot, title='Named')}"
    generator.completions = ["2, 1"]
    async with answering(adapters, ["So it is [1]."]):
        answer = await ask(owner, url, "How long does the warranty last?")
    assert generator.completed[0].content.count("warranty") == 3
    assert [passage.content for passage in generator.requests[0].passages] == texts[::-1]
    assert answer["citations"][0]["quote"] == texts[1]
    turn = (await owner.http.get(f"/api/v1/turns/{answer['turn_id']}")).json()
    (call,) = turn["calls_beside"]
    assert (call["step"], call["model"]) == ("rerank", "fake/script")
    assert answer["usage"]["input_tokens"] > call["input_tokens"] > 0


async def test_a_follow_up_is_searched_for_in_words_that_stand_by_themselves(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, generator: ScriptedGenerator
) -> None:
    wanted = {"threshold": 0, "top_k": 1, "merge_neighbours": False}
    _, bot = await a_bot(engine, owner.id, configuration={"retrieval": wanted})
    texts = ["The Polaris lamp lasts nine years.", "The Vega torch lasts two hours."]
    await a_ready_document(engine, owner.id, bot, texts, WordEmbedder())
    url = f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot, title='Named')}"
    generator.completions = ["How many hours does the Vega torch last?"]
    async with answering(adapters, ["There is the Vega torch [1]."], ["For two hours [1]."]):
        await ask(owner, url, "Which torch is there?")
        assert not generator.completed, "a first question stands by itself"
        answer = await ask(owner, url, "And how long?")
    assert len(generator.completed) == 1
    assert generator.requests[1].question == "And how long?"
    assert [passage.content for passage in generator.requests[1].passages] == texts[1:]
    (call,) = (await owner.http.get(f"/api/v1/turns/{answer['turn_id']}")).json()["calls_beside"]
    assert call["step"] == "understand_question"
    assert answer["usage"]["input_tokens"] > call["input_tokens"] > 0
