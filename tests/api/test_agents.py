"""Agents over HTTP: a real workflow, the real Gemini client against its double, real tools."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.models.providers import open_models
from adapters.settings import Settings
from adapters.temporal.client import BOT_ID, OWNER_ID, ensure_search_attributes
from adapters.wiring import Adapters
from domain.runs import turn_run
from tests.api.conftest import Caller
from tests.api.turn_service import all_events, serving
from tests.builders import a_ready_document
from tests.fakes import WordEmbedder
from tests.gemini_double import GeminiDouble, Recorded, running_double
from tests.servers import temporal_server

WARRANTY = "The warranty lasts two years. Batteries are excluded."
SECRET = "a-word-that-no-history-may-hold"


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        yield double


@pytest_asyncio.fixture
async def adapters(adapters: Adapters, double: GeminiDouble) -> AsyncIterator[Adapters]:
    settings = Settings(
        _env_file=None, provider="gemini", gemini_api_key=SecretStr("test-key"), gemini_base_url=double.url
    )
    async with open_models(settings) as models:
        yield replace(adapters, generator=models.generator)


async def an_agent(owner: Caller, *tools: dict[str, Any], **agent: int) -> tuple[str, str]:
    """A bot with these tools; its id, and the messages of a conversation with it."""
    configuration = {"agent_type": "react", "tools": tools, "agent": agent}
    made = await owner.http.post("/api/v1/bots", json={"name": "Agent", "configuration": configuration})
    assert made.status_code == 201, made.text
    bot = made.json()["id"]
    conversation = (await owner.http.post(f"/api/v1/bots/{bot}/conversations")).json()["id"]
    return bot, f"/api/v1/conversations/{conversation}/messages"


async def test_an_agent_searches_the_documents_and_cites_what_it_found(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, double: GeminiDouble
) -> None:
    bot, url = await an_agent(owner, {"type": "search_documents"})
    await a_ready_document(engine, owner.id, bot, [f"{WARRANTY} {SECRET}"], WordEmbedder(), name="terms.pdf")  # type: ignore[arg-type]  # an id as text
    double.tool_steps.append([("search_documents", {"query": f"warranty {SECRET}"})])
    async with serving(adapters):
        response = await owner.http.post(url, json={"content": f"How long {SECRET}?", "stream": True})
        seen = await all_events(response)
    assert [type_ for _, type_, _ in seen if type_ != "message.delta"] == [
        "turn.started", "tool.started", "turn.retrieved", "tool.completed", "message.completed",
    ]  # fmt: skip
    answer = seen[-1][2]["message"]
    assert answer["content"] == 'The documents say: "The warranty lasts two years." [1].'
    assert [(c["marker"], c["quote"]) for c in answer["citations"]] == [(1, "The warranty lasts two years")]
    assert answer["usage"]["output_tokens"] > 8

    first, second = generations(double)
    assert [each["name"] for each in first.body["tools"][0]["functionDeclarations"]] == ["search_documents"]
    fence = second.body["systemInstruction"]["parts"][0]["text"].split("hold the word ")[1].split(".")[0]
    (given,) = second.body["contents"][-1]["parts"]
    told = given["functionResponse"]["response"]["result"]
    assert told.startswith(f"{fence} result\n1 passages were found.\n{fence} passage [1]\ndocument: terms.pdf")

    history = await adapters.temporal.get_workflow_handle(turn_run(url.split("/")[-2])).fetch_history()  # type: ignore[arg-type]  # an id as text
    whole = b"".join(event.SerializeToString() for event in history.events)
    for content in (SECRET, "warranty", "terms.pdf"):
        assert content.encode() not in whole


async def test_an_agent_that_may_take_one_step_answers_with_what_it_has(
    owner: Caller, adapters: Adapters, double: GeminiDouble
) -> None:
    _, url = await an_agent(owner, {"type": "search_documents"}, max_steps=1)
    double.tool_steps.extend([[("search_documents", {"query": "warranty"})]] * 5)
    double.answer = "I found nothing."
    async with serving(adapters):
        answer = (await owner.http.post(url, json={"content": "How long?"})).json()
    assert (answer["status"], answer["content"]) == ("complete", "I found nothing.")
    assert len(generations(double)) == 2
    assert "tools" not in generations(double)[1].body


GATED = {"type": "search_documents", "needs_approval": True}


async def test_a_call_waits_until_a_person_allows_it(owner: Caller, adapters: Adapters, double: GeminiDouble) -> None:
    _, url = await an_agent(owner, GATED)
    double.tool_steps.append([("search_documents", {"query": "warranty"})])
    double.answer = "I found nothing."
    async with serving(adapters):
        asked = await owner.http.post(url, json={"content": "How long?"}, headers={"Prefer": "respond-async"})
        turn = asked.headers["Location"]
        waiting = await until(owner, turn, lambda now: now["approvals"])
        (approval,) = waiting["approvals"]
        assert (waiting["status"], approval["number"], approval["tool"], approval["arguments"], approval["approved"]) == (
            "running", 1, "search_documents", {"query": "warranty"}, None,
        )  # fmt: skip
        assert (await owner.http.post(url, json={"content": "And?"})).json()["error"]["code"] == "turn_in_progress"
        assert (await owner.http.post(f"{turn}/approvals/2", json={"approved": True})).status_code == 404
        allow: dict[str, Any] = {"json": {"approved": True}, "headers": {"Idempotency-Key": "allow"}}
        decided = await owner.http.post(f"{turn}/approvals/1", **allow)
        again = await owner.http.post(f"{turn}/approvals/1", **allow)
        assert decided.json() == again.json()
        assert decided.json()["approvals"][0]["approved"] is True
        seen = await all_events(await owner.http.get(f"{turn}/events"))
    kinds = [type_ for _, type_, _ in seen]
    assert kinds.index("tool.approval_required") < kinds.index("tool.started")
    assert seen[-1][2]["message"]["content"] == "I found nothing."
    late = await owner.http.post(f"{turn}/approvals/1", json={"approved": True})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "invalid_state")


async def test_a_call_that_is_refused_is_told_to_the_model_in_the_persons_words(
    owner: Caller, adapters: Adapters, double: GeminiDouble
) -> None:
    _, url = await an_agent(owner, GATED)
    double.tool_steps.append([("search_documents", {"query": "warranty"})])
    double.answer = "That was refused."
    async with serving(adapters):
        asked = await owner.http.post(url, json={"content": "How long?"}, headers={"Prefer": "respond-async"})
        turn = asked.headers["Location"]
        await until(owner, turn, lambda now: now["approvals"])
        refusal = {"approved": False, "comment": "Ask the shop."}
        assert (await owner.http.post(f"{turn}/approvals/1", json=refusal)).status_code == 200
        seen = await all_events(await owner.http.get(f"{turn}/events"))
    assert seen[-1][2]["message"]["content"] == "That was refused."
    assert "Ask the shop." in str(generations(double)[1].body["contents"][-1])


async def test_a_turn_that_waits_for_a_person_can_be_stopped(
    owner: Caller, adapters: Adapters, double: GeminiDouble
) -> None:
    _, url = await an_agent(owner, GATED)
    double.tool_steps.append([("search_documents", {"query": "warranty"})])
    async with serving(adapters):
        asked = await owner.http.post(url, json={"content": "How long?"}, headers={"Prefer": "respond-async"})
        turn = asked.headers["Location"]
        await until(owner, turn, lambda now: now["approvals"])
        stopped = await owner.http.post(f"{turn}/cancel")
    assert stopped.json()["status"] == "partial"


async def test_an_agent_asks_another_bot_of_the_owner_and_no_other(
    owner: Caller, stranger: Caller, adapters: Adapters, engine: AsyncEngine, double: GeminiDouble
) -> None:
    other = (await owner.http.post("/api/v1/bots", json={"name": "Warranties"})).json()["id"]
    await a_ready_document(engine, owner.id, other, [WARRANTY], WordEmbedder(), name="terms.pdf")
    bot, url = await an_agent(owner, {"type": "ask_bot", "bot_id": other})
    double.tool_steps.append([("ask_bot", {"question": "How long does the warranty last?"})])
    async with serving(adapters):
        answer = (await owner.http.post(url, json={"content": "How long?"})).json()
    assert answer["status"] == "complete", answer
    told = str(generations(double)[-1].body["contents"][-1])
    assert "The warranty lasts two years." in told
    assert "terms.pdf, page 1" in told
    (asked,) = (await owner.http.get(f"/api/v1/bots/{other}/conversations")).json()["data"]
    assert asked["title"] == "Asked by Agent"
    run = await adapters.temporal.get_workflow_handle(turn_run(asked["id"])).describe()
    found = run.typed_search_attributes
    assert (found[OWNER_ID], found[BOT_ID]) == (str(owner.id), other)

    for caller, itself in ((stranger, None), (owner, bot)):
        tool = {"type": "ask_bot", "bot_id": itself or other}
        body = {"name": "x", "configuration": {"tools": [tool]}}
        refused = (
            await caller.http.post("/api/v1/bots", json=body)
            if itself is None
            else await caller.http.put(f"/api/v1/bots/{itself}", json=body)
        )
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "configuration.tools")


def generations(double: GeminiDouble) -> list[Recorded]:
    """What the model was asked for answers; titles are asked for besides."""
    return [each for each in double.requests if each.endpoint == "generate"]


async def until(owner: Caller, path: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Read again until it holds."""
    async with asyncio.timeout(120):
        while True:
            now: dict[str, Any] = (await owner.http.get(path)).json()
            if holds(now):
                return now
            await asyncio.sleep(0.05)
