"""Conversations over HTTP, without anyone who answers."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import bots, conversations, messages, turn_events, turns
from domain.conversation import TurnOutcome
from tests.activities.turn_steps import answered, load, persist
from tests.api.conftest import Caller
from tests.builders import a_bot, a_question


async def begin(owner: Caller, engine: AsyncEngine, **body: Any) -> dict[str, Any]:
    _, bot = await a_bot(engine, owner.id)
    response = await owner.http.post(f"/api/v1/bots/{bot}/conversations", json=body)
    assert response.status_code == 201, response.text
    assert response.headers["Location"] == f"/api/v1/conversations/{response.json()['id']}"
    conversation: dict[str, Any] = response.json()
    return conversation


async def test_a_conversation_is_made_seen_renamed_and_deleted(owner: Caller, engine: AsyncEngine) -> None:
    conversation = await begin(owner, engine, title="  Leave  ")
    url = f"/api/v1/conversations/{conversation['id']}"
    assert conversation["title"] == "Leave"
    assert (await owner.http.get(url)).json() == conversation
    assert (await owner.http.patch(url, json={"title": "Travel"})).json()["title"] == "Travel"
    assert (await owner.http.patch(url, json={})).json()["title"] == "Travel"
    assert (await owner.http.patch(url, json={"title": None})).json()["title"] is None
    assert (await owner.http.delete(url)).status_code == 204
    for response in (await owner.http.get(url), await owner.http.delete(url), await owner.http.get(f"{url}/messages")):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_a_conversation_needs_no_body(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    response = await owner.http.post(f"/api/v1/bots/{bot}/conversations")
    assert (response.status_code, response.json()["title"]) == (201, None)


@pytest.mark.parametrize("body", [{"title": " "}, {"title": "x" * 10_000}, {"title": "a\0b"}, {"colour": "red"}])
async def test_a_bad_title_is_refused(owner: Caller, engine: AsyncEngine, body: dict[str, Any]) -> None:
    _, bot = await a_bot(engine, owner.id)
    assert (await owner.http.post(f"/api/v1/bots/{bot}/conversations", json=body)).status_code == 422


async def test_conversations_of_one_bot_are_listed_newest_first_in_pages(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    url = f"/api/v1/bots/{bot}/conversations"
    made = [(await owner.http.post(url, json={})).json()["id"] for _ in range(3)]
    await begin(owner, engine)
    first = (await owner.http.get(url, params={"limit": 2})).json()
    second = (await owner.http.get(url, params={"limit": 2, "after": first["next"]})).json()
    assert [item["id"] for item in first["data"] + second["data"]] == made[::-1]
    assert (first["has_more"], second["has_more"], second["next"]) == (True, False, None)
    elsewhere = (await owner.http.get("/api/v1/bots", params={"after": first["next"]})).json()
    assert elsewhere["error"]["code"] == "invalid_cursor"


async def test_the_same_key_begins_one_conversation(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    url, key = f"/api/v1/bots/{bot}/conversations", {"Idempotency-Key": "one"}
    first = await owner.http.post(url, json={"title": "A"}, headers=key)
    again = await owner.http.post(url, json={"title": "A"}, headers=key)
    other = await owner.http.post(url, json={"title": "B"}, headers=key)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.json()["error"]["code"] == "idempotency_key_reused"


async def test_what_was_said_is_listed_in_order_with_its_citations_and_errors(
    owner: Caller, engine: AsyncEngine
) -> None:
    _, bot = await a_bot(engine, owner.id)
    first = await a_question(engine, owner.id, bot, content="One?")
    await answered(engine, first, "Answer one.")
    second = await a_question(engine, owner.id, bot, first.conversation_id, content="Two?")
    await load(engine, second)
    await persist(engine, second, TurnOutcome.FAILED, "safety_blocked", "The model declined.")
    url = f"/api/v1/conversations/{first.conversation_id}/messages"
    listed = (await owner.http.get(url, params={"order": "asc"})).json()["data"]
    assert [(m["role"], m["content"], m["status"]) for m in listed] == [
        ("user", "One?", "complete"), ("assistant", "Answer one.", "complete"),
        ("user", "Two?", "complete"), ("assistant", "", "failed"),
    ]  # fmt: skip
    assert listed[1]["usage"] == {"input_tokens": 11, "output_tokens": 7}
    assert (listed[0]["usage"], listed[0]["error"]) == (None, None)
    assert listed[3]["error"] == {"code": "safety_blocked", "message": "The model declined."}
    assert {m["turn_id"] for m in listed} == {str(first.turn_id), str(second.turn_id)}
    newest = (await owner.http.get(url, params={"limit": 3})).json()
    rest = (await owner.http.get(url, params={"limit": 3, "after": newest["next"]})).json()
    assert newest["data"] + rest["data"] == listed[::-1]


async def test_a_conversation_tells_which_turn_runs(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    url = f"/api/v1/conversations/{ref.conversation_id}"
    assert (await owner.http.get(url)).json()["running_turn_id"] == str(ref.turn_id)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    assert (await owner.http.get(url)).json()["running_turn_id"] is None


async def test_a_deleted_conversation_leaves_no_row(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    await load(engine, ref)
    assert (await owner.http.delete(f"/api/v1/conversations/{ref.conversation_id}")).status_code == 204
    async with engine.connect() as connection:
        for table in (conversations, turns, messages, turn_events):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0


async def test_a_conversation_of_a_bot_that_is_being_deleted_is_not_there(owner: Caller, engine: AsyncEngine) -> None:
    conversation = await begin(owner, engine)
    async with engine.begin() as connection:
        await connection.execute(update(bots).values(deleting_at=func.now()))
    url = f"/api/v1/conversations/{conversation['id']}"
    for response in (await owner.http.get(url), await owner.http.post(f"{url}/messages", json={"content": "Hello?"})):
        assert response.status_code == 404


async def test_an_inactive_bot_takes_no_message_and_says_why(owner: Caller, engine: AsyncEngine) -> None:
    conversation = await begin(owner, engine)
    async with engine.begin() as connection:
        await connection.execute(update(bots).values(status="inactive"))
    url = f"/api/v1/conversations/{conversation['id']}/messages"
    response = await owner.http.post(url, json={"content": "Hello?"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "invalid_state")
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(messages))).scalar_one() == 0


@pytest.mark.parametrize(
    "body",
    [{}, {"content": ""}, {"content": " \n"}, {"content": "x" * 16_001}, {"content": "a\0b"}, {"content": 7},
     {"content": "a", "strem": True}],
)  # fmt: skip
async def test_a_bad_message_is_refused_and_not_stored(
    owner: Caller, engine: AsyncEngine, body: dict[str, Any]
) -> None:
    conversation = await begin(owner, engine)
    response = await owner.http.post(f"/api/v1/conversations/{conversation['id']}/messages", json=body)
    assert response.status_code == 422
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(turns))).scalar_one() == 0


async def test_half_a_surrogate_pair_is_refused(owner: Caller, engine: AsyncEngine) -> None:
    conversation = await begin(owner, engine)
    response = await owner.http.post(
        f"/api/v1/conversations/{conversation['id']}/messages",
        content=b'{"content": "a \\ud800 b"}', headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert response.status_code in (400, 422)


async def test_an_id_that_is_none_is_a_clear_error(owner: Caller) -> None:
    assert (await owner.http.get("/api/v1/conversations/not-an-id")).status_code == 422
    assert (await owner.http.get(f"/api/v1/conversations/{uuid4()}")).status_code == 404
    assert (await owner.http.post(f"/api/v1/bots/{uuid4()}/conversations", json={})).status_code == 404


async def test_a_bot_is_deleted_with_what_was_said(owner: Caller, engine: AsyncEngine) -> None:
    conversation = await begin(owner, engine)
    async with engine.begin() as connection:
        await connection.execute(delete(bots).where(bots.c.id == UUID(conversation["bot_id"])))
    assert (await owner.http.get(f"/api/v1/conversations/{conversation['id']}")).status_code == 404
