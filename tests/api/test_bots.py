"""Bots over HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import bots, deletions
from tests.api.conftest import Caller


async def make_bot(owner: Caller, **fields: Any) -> dict[str, Any]:
    response = await owner.http.post("/api/v1/bots", json={"name": "Handbook", **fields})
    assert response.status_code == 201, response.text
    bot: dict[str, Any] = response.json()
    return bot


async def test_a_bot_has_every_default_and_a_location(owner: Caller) -> None:
    response = await owner.http.post("/api/v1/bots", json={"name": "  Handbook "})

    bot = response.json()
    assert response.headers["Location"] == f"/api/v1/bots/{bot['id']}"
    assert bot["name"] == "Handbook"
    assert bot["configuration"] == {
        "system_prompt": "",
        "agent_type": "rag",
        "history_messages": 10,
        "retrieval": {"top_k": 6, "min_score": 0.0, "mode": "hybrid"},
        "tools": [],
    }
    assert (await owner.http.get(f"/api/v1/bots/{bot['id']}")).json() == bot


async def test_put_replaces_and_patch_merges_key_by_key(owner: Caller) -> None:
    bot = await make_bot(owner, description="d", configuration={"system_prompt": "short", "history_messages": 3})
    url = f"/api/v1/bots/{bot['id']}"

    patched = (await owner.http.patch(url, json={"configuration": {"retrieval": {"top_k": 8}}})).json()
    assert patched["description"] == "d"
    assert patched["configuration"]["system_prompt"] == "short"
    assert patched["configuration"]["retrieval"] == {"top_k": 8, "min_score": 0.0, "mode": "hybrid"}

    replaced = (await owner.http.put(url, json={"name": "New"})).json()
    assert (replaced["name"], replaced["description"]) == ("New", "")
    assert replaced["configuration"]["system_prompt"] == ""


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"name": " "}, "name", "invalid_request"),
        ({"name": "x" * 10_000}, "name", "invalid_request"),
        ({"name": "a\0b"}, "name", "invalid_request"),
        ({}, "name", "invalid_request"),
        ({"name": "x", "description": "x" * 501}, "description", "invalid_request"),
        ({"name": "x", "welcome_message": "x" * 201}, "welcome_message", "invalid_request"),
        ({"name": "x", "temperature": 2.1}, "temperature", "invalid_request"),
        ({"name": "x", "status": "asleep"}, "status", "invalid_request"),
        ({"name": "x", "colour": "red"}, "colour", "invalid_request"),
        ({"name": "x", "configuration": {"colour": "red"}}, "configuration.colour", "invalid_request"),
        ({"name": "x", "configuration": {"system_prompt": "\0"}}, "configuration.system_prompt", "invalid_request"),
        ({"name": "x", "configuration": {"history_messages": 51}}, "configuration.history_messages", "invalid_request"),
        (
            {"name": "x", "configuration": {"retrieval": {"top_k": 0}}},
            "configuration.retrieval.top_k",
            "invalid_request",
        ),
        ({"name": "x", "configuration": {"retrieval": {"k": 1}}}, "configuration.retrieval.k", "invalid_request"),
        ({"name": "x", "configuration": {"agent_type": "react"}}, "configuration.agent_type", "not_supported"),
        ({"name": "x", "configuration": {"tools": ["web"]}}, "configuration.tools", "not_supported"),
    ],
)
async def test_a_wrong_field_is_named(owner: Caller, body: dict[str, Any], param: str, code: str) -> None:
    response = await owner.http.post("/api/v1/bots", json=body)

    assert response.status_code == 422
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request", code, param)
    assert error["request_id"] == response.headers["X-Request-ID"]


async def test_a_patch_is_checked_as_a_whole_bot_is(owner: Caller) -> None:
    url = f"/api/v1/bots/{(await make_bot(owner))['id']}"

    for body, param in (
        ({"name": None}, "name"),
        ({"configuration": {"retrieval": {"top_k": 99}}}, "configuration.retrieval.top_k"),
        ({"configuration": {"agent_type": "react"}}, "configuration.agent_type"),
    ):
        response = await owner.http.patch(url, json=body)
        assert (response.status_code, response.json()["error"]["param"]) == (422, param), response.text


async def test_a_deleted_bot_is_gone_at_once_and_leaves_a_receipt(owner: Caller, engine: AsyncEngine) -> None:
    bot = await make_bot(owner)

    response = await owner.http.delete(f"/api/v1/bots/{bot['id']}")

    assert response.status_code == 202
    assert (response.json()["kind"], response.json()["status"]) == ("bot", "pending")
    assert (await owner.http.get(f"/api/v1/bots/{bot['id']}")).status_code == 404
    assert (await owner.http.get("/api/v1/bots")).json()["data"] == []
    assert (await owner.http.get(f"/api/v1/deletions/{bot['id']}")).json()["id"] == bot["id"]
    async with engine.connect() as connection:
        assert (await connection.execute(select(deletions.c.status))).scalars().all() == ["pending"]
        assert (await connection.execute(select(bots.c.deleting_at))).scalar_one() is not None


async def test_an_id_that_never_was_is_404_and_a_bad_one_422(owner: Caller) -> None:
    assert (await owner.http.get(f"/api/v1/bots/{uuid4()}")).status_code == 404
    response = await owner.http.get("/api/v1/bots/not-an-id")
    assert (response.status_code, response.json()["error"]["param"]) == (422, "bot_id")
