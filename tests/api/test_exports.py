"""Conversations as files: whole, in order, page by page, and broken off rather than cut short."""

from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, RemoteProtocolError
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import messages
from adapters.postgres.tables import conversations
from api import exports
from domain.ids import ConversationId, MessageId, answer_id
from tests.activities.turn_steps import answered
from tests.api.conftest import Caller
from tests.api.turn_service import listening
from tests.builders import a_bot, a_conversation, a_question, a_ready_document
from tests.fakes import WordEmbedder

WARRANTY = "The warranty lasts two years. Batteries are excluded."


async def a_talk(owner: Caller, engine: AsyncEngine, turns: int = 2, **values: Any) -> ConversationId:
    _, bot = await a_bot(engine, owner.id)
    await a_ready_document(engine, owner.id, bot, [WARRANTY], WordEmbedder(), name="terms.pdf")
    conversation = await a_conversation(engine, owner.id, bot, **values)
    for number in range(turns):
        ref = await a_question(engine, owner.id, bot, conversation, f"How long is the warranty, {number}?")
        await answered(engine, ref, f'It says "The warranty lasts two years" [1], {number}.')
    return conversation


async def export(owner: Caller, conversation: ConversationId, **parameters: Any) -> Any:
    response = await owner.http.get(f"/api/v1/conversations/{conversation}/export", params=parameters)
    assert response.status_code == 200, response.text
    return response


async def listed(owner: Caller, conversation: ConversationId, **parameters: str) -> list[dict[str, Any]]:
    url = f"/api/v1/conversations/{conversation}/messages"
    response = await owner.http.get(url, params={"order": "asc", "limit": "100"} | parameters)
    data: list[dict[str, Any]] = response.json()["data"]
    return data


async def test_json_holds_the_conversation_and_every_message_as_they_are_seen_elsewhere(
    owner: Caller, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PAGE", 2)
    conversation = await a_talk(owner, engine, 3, title="Leave/travel “ü”\u202e")
    response = await export(owner, conversation)
    body = response.json()
    assert response.headers["Content-Type"] == "application/json"
    assert unquote(response.headers["Content-Disposition"]).startswith("attachment; filename*=UTF-8''Leave-travel “ü”")
    assert response.headers["Content-Disposition"].endswith(".json")
    seen = (await owner.http.get(f"/api/v1/conversations/{conversation}")).json()
    assert (body["object"], body["message_count"], body["conversation"]) == ("conversation.export", 6, seen)
    assert body["messages"] == await listed(owner, conversation)


async def test_json_has_every_branch_and_markdown_the_newest_unless_one_is_asked_for(
    owner: Caller, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PAGE", 3)
    conversation = await a_talk(owner, engine, 2)
    first, old = [m for m in await listed(owner, conversation) if m["role"] == "assistant"]
    bot = (await owner.http.get(f"/api/v1/conversations/{conversation}")).json()["bot_id"]
    edited = await a_question(
        engine, owner.id, bot, conversation, "In other words?", after=MessageId(UUID(first["id"]))
    )
    await answered(engine, edited, "Two years, otherwise.")
    whole = (await export(owner, conversation)).json()
    assert len(whole["messages"]) == 6
    one = (await export(owner, conversation, branch=old["id"])).json()
    assert one["messages"] == await listed(owner, conversation, branch=old["id"])
    assert one["message_count"] == 4
    newest = (await export(owner, conversation, format="markdown")).text
    assert newest.count("## Question") == 2
    assert "In other words?" in newest
    assert 'years" [^2-1], 0' in newest
    before = (await export(owner, conversation, format="markdown", branch=old["id"])).text
    assert "In other words?" not in before
    assert "[^4-1]: terms.pdf, page 1: “The warranty lasts two years”" in before


async def test_markdown_is_a_file_that_no_page_shows(owner: Caller, engine: AsyncEngine) -> None:
    response = await export(owner, await a_talk(owner, engine, 1, title="Leave"), format="markdown")
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''Leave.md"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("form", ["json", "markdown"])
async def test_an_empty_conversation_is_exported_too(owner: Caller, engine: AsyncEngine, form: str) -> None:
    response = await export(owner, await a_talk(owner, engine, 0), format=form)
    if form == "json":
        assert (response.json()["message_count"], response.json()["messages"]) == (0, [])
    else:
        assert response.text.startswith("# Conversation\n")


async def test_a_message_of_another_conversation_is_no_branch(owner: Caller, engine: AsyncEngine) -> None:
    conversation = await a_talk(owner, engine, 1)
    elsewhere = await a_question(engine, *await a_bot(engine, owner.id))
    await answered(engine, elsewhere, "Else.")
    url = f"/api/v1/conversations/{conversation}/export"
    response = await owner.http.get(url, params={"branch": str(answer_id(elsewhere.turn_id))})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "branch")
    assert (await owner.http.get(url, params={"format": "pdf"})).status_code == 422


async def test_an_export_of_a_conversation_that_is_deleted_meanwhile_breaks_off(
    owner: Caller, app: FastAPI, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PAGE", 1)
    conversation = await a_talk(owner, engine, 2)
    pages = messages.page

    async def deleted_after_the_first(connection: Any, *given: Any, **named: Any) -> Any:
        rows = await pages(connection, *given, **named)
        await connection.execute(delete(conversations))
        return rows

    monkeypatch.setattr(messages, "page", deleted_after_the_first)

    async def read(http: AsyncClient) -> None:
        async with http.stream("GET", f"/api/v1/conversations/{conversation}/export") as response:
            async for _ in response.aiter_bytes():
                pass

    async with listening(app, dict(owner.http.headers)) as http:
        with pytest.raises(RemoteProtocolError):
            await read(http)
