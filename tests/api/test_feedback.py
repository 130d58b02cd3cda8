"""What an owner thinks of an answer: set, replaced, shown, and refused where it makes no sense."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import bots, messages
from domain.conversation import TurnOutcome
from domain.ids import answer_id
from domain.steps import TurnRef
from tests.activities.turn_steps import answered, load, persist
from tests.api.conftest import Caller
from tests.builders import a_bot, a_question


async def an_answer(owner: Caller, engine: AsyncEngine) -> TurnRef:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot, content="How long?")
    await answered(engine, ref, "Thirty days.")
    return ref


def feedback_of(message_id: UUID) -> str:
    return f"/api/v1/messages/{message_id}/feedback"


async def listed(owner: Caller, ref: TurnRef) -> list[dict[str, Any]]:
    response = await owner.http.get(f"/api/v1/conversations/{ref.conversation_id}/messages", params={"order": "asc"})
    data: list[dict[str, Any]] = response.json()["data"]
    return data


async def ratings(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        rated = select(func.count()).select_from(messages).where(messages.c.rating.is_not(None))
        return int((await connection.execute(rated)).scalar_one())


async def test_a_rating_answers_with_the_message_and_is_shown_wherever_the_answer_is(
    owner: Caller, engine: AsyncEngine
) -> None:
    ref = await an_answer(owner, engine)
    question, answer = await listed(owner, ref)
    assert (question["feedback"], answer["feedback"]) == (None, None)
    given = {"rating": "down", "comment": "It was twenty."}
    response = await owner.http.put(feedback_of(answer_id(ref.turn_id)), json=given)
    assert (response.status_code, response.json()) == (200, answer | {"feedback": given})
    assert await listed(owner, ref) == [question, response.json()]
    assert (await owner.http.get(f"/api/v1/turns/{ref.turn_id}")).json()["answer"] == response.json()


async def test_the_same_again_changes_nothing_and_another_replaces_the_whole(
    owner: Caller, engine: AsyncEngine
) -> None:
    ref = await an_answer(owner, engine)
    url = feedback_of(answer_id(ref.turn_id))
    first = await owner.http.put(url, json={"rating": "down", "comment": " Wrong. "})
    again = await owner.http.put(url, json={"rating": "down", "comment": "Wrong."})
    assert first.json() == again.json()
    assert first.json()["feedback"] == {"rating": "down", "comment": "Wrong."}
    other = await owner.http.put(url, json={"rating": "up"})
    assert other.json()["feedback"] == {"rating": "up", "comment": None}
    assert (await listed(owner, ref))[1]["feedback"] == {"rating": "up", "comment": None}


async def test_a_failed_answer_takes_a_rating(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    await load(engine, ref)
    await persist(engine, ref, TurnOutcome.FAILED, "safety_blocked", "The model declined.")
    response = await owner.http.put(feedback_of(answer_id(ref.turn_id)), json={"rating": "down"})
    assert (response.status_code, response.json()["status"]) == (200, "failed")


async def test_a_question_is_not_rated(owner: Caller, engine: AsyncEngine) -> None:
    ref = await an_answer(owner, engine)
    question = (await listed(owner, ref))[0]
    response = await owner.http.put(feedback_of(question["id"]), json={"rating": "up"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (409, "invalid_state")
    assert "Only answers are rated" in error["message"]
    assert await ratings(engine) == 0


async def test_a_strangers_rating_finds_nothing_and_changes_nothing(
    owner: Caller, stranger: Caller, engine: AsyncEngine
) -> None:
    ref = await an_answer(owner, engine)
    question, answer = await listed(owner, ref)
    nobodys = await stranger.http.put(feedback_of(uuid4()), json={"rating": "up"})
    for message in (question, answer):
        response = await stranger.http.put(feedback_of(message["id"]), json={"rating": "up"})
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        assert response.json()["error"]["message"] == nobodys.json()["error"]["message"]
    assert await ratings(engine) == 0


async def test_an_answer_of_a_bot_that_is_being_deleted_is_not_there(owner: Caller, engine: AsyncEngine) -> None:
    ref = await an_answer(owner, engine)
    async with engine.begin() as connection:
        await connection.execute(update(bots).values(deleting_at=func.now()))
    response = await owner.http.put(feedback_of(answer_id(ref.turn_id)), json={"rating": "up"})
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "rating"), ({"rating": None}, "rating"), ({"rating": "sideways"}, "rating"), ({"rating": 1}, "rating"),
     ({"rating": "up", "comment": ""}, "comment"), ({"rating": "up", "comment": "x" * 2_001}, "comment"),
     ({"rating": "up", "comment": "a\0b"}, "comment"), ({"rating": "up", "comment": "a\ud800b"}, "comment"),
     ({"rating": "up", "coment": "a"}, "coment")],
)  # fmt: skip
async def test_bad_feedback_is_refused_by_its_field_and_not_stored(
    owner: Caller, engine: AsyncEngine, body: dict[str, Any], param: str
) -> None:
    ref = await an_answer(owner, engine)
    # Escaped, since the client refuses to write half a surrogate pair.
    content, headers = json.dumps(body), {"Content-Type": "application/json"}
    response = await owner.http.put(feedback_of(answer_id(ref.turn_id)), content=content, headers=headers)
    assert (response.status_code, response.json()["error"]["type"]) == (422, "invalid_request")
    assert response.json()["error"]["param"] == param
    assert await ratings(engine) == 0


async def test_a_comment_may_have_2000_characters(owner: Caller, engine: AsyncEngine) -> None:
    ref = await an_answer(owner, engine)
    body = {"rating": "up", "comment": "ß" * 2_000}
    response = await owner.http.put(feedback_of(answer_id(ref.turn_id)), json=body)
    assert (response.status_code, response.json()["feedback"]) == (200, body)
