"""Branches of a conversation: edit and resend, another answer, and what of them is listed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.ids import new_id
from adapters.postgres import transcripts
from adapters.postgres.tables import messages, turns
from adapters.temporal.client import ensure_search_attributes
from adapters.wiring import Adapters
from domain.conversation import Origin, Role
from domain.errors import ProviderAuth
from domain.ids import ConversationId
from domain.transcripts import exchanges
from tests.api.conftest import Caller
from tests.api.turn_service import all_events, answering
from tests.builders import a_bot, a_conversation, a_question
from tests.fakes import Piece
from tests.servers import temporal_server


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def url(owner: Caller, engine: AsyncEngine) -> str:
    """The messages of an empty conversation with a bot that has no documents, and asks its model all the same."""
    _, bot = await a_bot(engine, owner.id, configuration={"retrieval": {"threshold": 0}})
    return f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot)}/messages"


async def ask(owner: Caller, url: str, content: str, **body: Any) -> dict[str, Any]:
    response = await owner.http.post(url, json={"content": content} | body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def listed(owner: Caller, url: str, **parameters: Any) -> list[dict[str, Any]]:
    response = await owner.http.get(url, params={"order": "asc"} | parameters)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def contents(data: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in data]


async def test_each_message_names_the_one_that_it_follows(owner: Caller, adapters: Adapters, url: str) -> None:
    async with answering(adapters, ["A1."], ["A2."]):
        await ask(owner, url, "Q1?")
        await ask(owner, url, "Q2?")
    data = await listed(owner, url)
    assert contents(data) == ["Q1?", "A1.", "Q2?", "A2."]
    assert [message["parent_id"] for message in data] == [None, *(message["id"] for message in data[:-1])]


async def test_a_question_that_is_edited_and_sent_again_stands_beside_the_first(
    owner: Caller, adapters: Adapters, url: str
) -> None:
    async with answering(adapters, ["A1."], ["A2."], ["B2."], ["B3."], ["A3."]) as generator:
        await ask(owner, url, "Q1?")
        first = await ask(owner, url, "Q2?")
        question = (await listed(owner, url))[2]
        edited = await ask(owner, url, "Q2, better?", parent_id=question["parent_id"])
        followed = await ask(owner, url, "Q3?")  # after what was said last
        back = await ask(owner, url, "Q3, there?", parent_id=first["id"])
    histories = [[message.content for message in request.history] for request in generator.requests[2:]]
    assert histories == [
        ["Q1?", "A1."],
        ["Q1?", "A1.", "Q2, better?", "B2."],
        ["Q1?", "A1.", "Q2?", "A2."],
    ]
    assert contents(await listed(owner, url, branch=followed["id"])) == [
        "Q1?",
        "A1.",
        "Q2, better?",
        "B2.",
        "Q3?",
        "B3.",
    ]
    assert contents(await listed(owner, url, branch=back["id"])) == ["Q1?", "A1.", "Q2?", "A2.", "Q3, there?", "A3."]
    assert contents(await listed(owner, url, branch=edited["id"])) == ["Q1?", "A1.", "Q2, better?", "B2."]
    assert len(await listed(owner, url)) == 10


async def test_the_first_question_is_edited_by_its_own_parent_which_is_null(
    owner: Caller, adapters: Adapters, url: str
) -> None:
    async with answering(adapters, ["A1."], ["B1."]) as generator:
        await ask(owner, url, "Q1?", parent_id=None)
        second = await ask(owner, url, "Q1, better?", parent_id=None)
    assert [list(request.history) for request in generator.requests] == [[], []]
    assert contents(await listed(owner, url, branch=second["id"])) == ["Q1, better?", "B1."]


@pytest.mark.parametrize("of", ["answer", "question"])
async def test_another_answer_stands_beside_the_first_and_has_the_same_history(
    owner: Caller, adapters: Adapters, url: str, of: str
) -> None:
    async with answering(adapters, ["A1."], ["A2."], ["A3."], ["B2."]) as generator:
        await ask(owner, url, "Q1?")
        first = await ask(owner, url, "Q2?")
        await ask(owner, url, "Q3?")
        response = await owner.http.post(
            f"/api/v1/messages/{first['id' if of == 'answer' else 'parent_id']}/regenerate"
        )
    another = response.json()
    assert (response.status_code, another["content"]) == (201, "B2.")
    assert another["parent_id"] == first["parent_id"]
    assert another["id"] != first["id"]
    asked = [(request.question, [message.content for message in request.history]) for request in generator.requests]
    assert asked[3] == asked[1] == ("Q2?", ["Q1?", "A1."])
    assert contents(await listed(owner, url, branch=another["id"])) == ["Q1?", "A1.", "Q2?", "B2."]
    assert contents(await listed(owner, url, branch=first["id"])) == ["Q1?", "A1.", "Q2?", "A2."]
    turn = (await owner.http.get(response.headers["Location"])).json()
    assert (turn["question_id"], turn["answer"]) == (first["parent_id"], another)


async def test_another_answer_streams_and_may_be_left_to_itself(owner: Caller, adapters: Adapters, url: str) -> None:
    async with answering(adapters, ["A1."], ["B1."], ["C1."]):
        first = await ask(owner, url, "Q1?")
        again = f"/api/v1/messages/{first['id']}/regenerate"
        streamed = await all_events(await owner.http.post(again, json={"stream": True}))
        left = await owner.http.post(again, headers={"Prefer": "respond-async"})
        told = await all_events(await owner.http.get(f"{left.headers['Location']}/events"))
    assert streamed[-1][1] == told[-1][1] == "message.completed"
    assert (left.status_code, left.json()["answer"]) == (202, None)
    final = [events[-1][2]["message"] for events in (streamed, told)]
    assert [(message["content"], message["parent_id"]) for message in final] == [
        ("B1.", first["parent_id"]), ("C1.", first["parent_id"]),
    ]  # fmt: skip


async def test_a_failed_answer_is_made_anew(owner: Caller, adapters: Adapters, url: str) -> None:
    async with answering(adapters, [ProviderAuth("The key is refused.")], ["A1."], ["A2."]) as generator:
        failed = await ask(owner, url, "Q1?")
        again = await owner.http.post(f"/api/v1/messages/{failed['id']}/regenerate")
        await ask(owner, url, "Q2?")
    assert (failed["status"], again.json()["status"]) == ("failed", "complete")
    assert [message.content for message in generator.requests[2].history] == ["Q1?", "A1."]


async def test_a_greeting_is_no_answer_that_another_could_stand_beside(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    conversation = ConversationId(new_id())
    async with engine.begin() as connection:
        told = exchanges([(Role.ASSISTANT, "Welcome."), (Role.USER, "Q1?"), (Role.ASSISTANT, "A1.")], mint=new_id)
        await transcripts.add(connection, owner.id, bot, conversation, told, origin=Origin.RESPONSES, title="Q1?")
    greeting, *_ = await listed(owner, f"/api/v1/conversations/{conversation}/messages")
    refused = await owner.http.post(f"/api/v1/messages/{greeting['id']}/regenerate")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "invalid_state")


async def test_the_same_key_is_one_more_answer_however_often_it_is_asked_for(
    owner: Caller, adapters: Adapters, url: str
) -> None:
    async with answering(adapters, ["A1."], ["B1."]) as generator:
        first = await ask(owner, url, "Q1?")
        again, key = f"/api/v1/messages/{first['id']}/regenerate", {"Idempotency-Key": "one"}
        one, twin = await asyncio.gather(*(owner.http.post(again, headers=key) for _ in range(2)))
        late = await owner.http.post(again, headers=key)
    assert one.json() == twin.json() == late.json()
    assert late.headers["Idempotent-Replayed"] == "true"
    assert len(generator.requests) == 2


async def test_while_a_turn_runs_every_branch_waits_for_it(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, url: str
) -> None:
    go_on = asyncio.Event()
    async with answering(adapters, ["A1."], [go_on, "A2."]) as generator:
        first = await ask(owner, url, "Q1?")
        generator.started.clear()
        running = asyncio.create_task(owner.http.post(url, json={"content": "Q2?"}))
        await generator.started.wait()
        again = await owner.http.post(f"/api/v1/messages/{first['id']}/regenerate")
        beside = await owner.http.post(url, json={"content": "Else?", "parent_id": None})
        go_on.set()
        answer = (await running).json()
    for response in (again, beside):
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (409, "turn_in_progress")
        assert error["details"] == {"turn_id": answer["turn_id"]}
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(messages))).scalar_one() == 4


async def test_of_many_at_once_one_is_answered_and_each_that_was_taken_has_one_answer(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, url: str
) -> None:
    scripts: list[list[Piece]] = [["B1."] for _ in range(6)]
    async with answering(adapters, ["A1."], *scripts):
        first = await ask(owner, url, "Q1?")
        again = f"/api/v1/messages/{first['id']}/regenerate"
        asked = [owner.http.post(again) for _ in range(3)]
        asked += [owner.http.post(url, json={"content": f"Q{n}?", "parent_id": first["id"]}) for n in range(3)]
        responses = await asyncio.gather(*asked)
    codes = [response.status_code for response in responses]
    assert set(codes) <= {201, 409}
    assert codes.count(201) >= 1
    async with engine.connect() as connection:
        taken = (await connection.execute(select(func.count()).select_from(turns))).scalar_one()
        answers = select(func.count()).select_from(messages).where(messages.c.role == "assistant")
        assert taken == (await connection.execute(answers)).scalar_one() == codes.count(201) + 1
    for response in responses:
        if response.status_code == 201:
            path = await listed(owner, url, branch=response.json()["id"])
            assert contents(path)[-1] == "B1."
            assert len(path) in (2, 4)


async def test_a_message_follows_an_answer_of_its_own_conversation(
    owner: Caller, stranger: Caller, engine: AsyncEngine, adapters: Adapters, url: str
) -> None:
    elsewhere = await a_question(engine, *await a_bot(engine, owner.id))
    foreign = await a_question(engine, *await a_bot(engine, stranger.id))
    async with engine.connect() as connection:
        rows = (await connection.execute(select(messages.c.id, messages.c.turn_id))).all()
    ids = {row.turn_id: str(row.id) for row in rows}
    async with answering(adapters, ["A1."]):
        question = (await ask(owner, url, "Q1?"))["parent_id"]
    refused = await owner.http.post(url, json={"content": "Why?", "parent_id": question})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (422, "invalid_parent", "parent_id")
    messages_of_error = set()
    for parent in (ids[elsewhere.turn_id], ids[foreign.turn_id], str(uuid4())):
        for response, param in (
            (await owner.http.post(url, json={"content": "Why?", "parent_id": parent}), "parent_id"),
            (await owner.http.get(url, params={"branch": parent}), "branch"),
        ):
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["param"]) == (404, "not_found", param)
            messages_of_error.add(error["message"])
    assert len(messages_of_error) == 1
    assert len(await listed(owner, url)) == 2


async def test_a_branch_is_listed_in_pages_whose_cursors_hold_for_it_alone(
    owner: Caller, adapters: Adapters, url: str
) -> None:
    async with answering(adapters, ["A1."], ["B1."], ["A2."]):
        first = await ask(owner, url, "Q1?")
        await owner.http.post(f"/api/v1/messages/{first['id']}/regenerate")
        last = await ask(owner, url, "Q2?", parent_id=first["id"])
    page = (await owner.http.get(url, params={"branch": last["id"], "limit": 3})).json()
    rest = (await owner.http.get(url, params={"branch": last["id"], "limit": 3, "after": page["next"]})).json()
    assert contents(page["data"] + rest["data"]) == ["A2.", "Q2?", "A1.", "Q1?"]
    elsewhere = await owner.http.get(url, params={"limit": 3, "after": page["next"]})
    assert elsewhere.json()["error"]["code"] == "invalid_cursor"


async def test_each_of_two_answers_has_its_own_feedback(owner: Caller, adapters: Adapters, url: str) -> None:
    async with answering(adapters, ["A1."], ["B1."]):
        first = await ask(owner, url, "Q1?")
        second = (await owner.http.post(f"/api/v1/messages/{first['id']}/regenerate")).json()
    for answer, rating in ((first, "down"), (second, "up")):
        rated = await owner.http.put(f"/api/v1/messages/{answer['id']}/feedback", json={"rating": rating})
        assert rated.json()["parent_id"] == answer["parent_id"]
    assert [message["feedback"] for message in await listed(owner, url)] == [
        None, {"rating": "down", "comment": None}, {"rating": "up", "comment": None},
    ]  # fmt: skip
