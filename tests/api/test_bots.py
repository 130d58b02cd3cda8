"""Bots over HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import bots, deletions
from tests.api.conftest import Caller

SEARCH = {"type": "search_documents"}


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
        "history_tokens": 2000,
        "summarize": True,
        "retrieval": {
            "top_k": 6,
            "min_score": 0.0,
            "mode": "hybrid",
            "condense": True,
            "rerank": False,
            "queries": 1,
            "merge_neighbours": True,
            "diversity": 0.05,
            "threshold": None,
        },
        "unknown_answer": "",
        "tools": [],
        "agent": {"max_steps": 8, "max_tokens": 100_000, "max_seconds": 300},
        "fallback_models": [],
    }
    assert (await owner.http.get(f"/api/v1/bots/{bot['id']}")).json() == bot


async def test_put_replaces_and_patch_merges_key_by_key(owner: Caller) -> None:
    bot = await make_bot(owner, description="d", configuration={"system_prompt": "short", "history_messages": 3})
    url = f"/api/v1/bots/{bot['id']}"

    patched = (await owner.http.patch(url, json={"configuration": {"retrieval": {"top_k": 8}}})).json()
    assert patched["description"] == "d"
    assert patched["configuration"]["system_prompt"] == "short"
    assert patched["configuration"]["retrieval"] == bot["configuration"]["retrieval"] | {"top_k": 8}

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
        ({"name": "x", "configuration": {"agent_type": "react"}}, "configuration.tools", "invalid_request"),
        ({"name": "x", "configuration": {"tools": ["web"]}}, "configuration.tools.0", "invalid_request"),
        ({"name": "x", "configuration": {"tools": [SEARCH, SEARCH]}}, "configuration.tools", "invalid_request"),
        (
            {"name": "x", "configuration": {"tools": [SEARCH | {"name": "a b"}]}},
            "configuration.tools.0.name",
            "invalid_request",
        ),
        (
            {"name": "x", "configuration": {"agent": {"max_steps": 0}}},
            "configuration.agent.max_steps",
            "invalid_request",
        ),
        (
            {"name": "x", "configuration": {"agent_type": "react", "tools": [SEARCH]}},
            "configuration.agent_type",
            "tools_unsupported",
        ),
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
        ({"configuration": {"agent_type": "react"}}, "configuration.tools"),
        ({"configuration": {"agent_type": "react", "tools": [SEARCH]}}, "configuration.agent_type"),
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


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "mistral/large"}, "model"),
        ({"model": "anthropic/claude-haiku-5-5"}, "model"),
        (
            {"configuration": {"fallback_models": ["local/extractive", "openai/gpt-5.4"]}},
            "configuration.fallback_models",
        ),
    ],
)
async def test_a_model_of_a_provider_that_is_not_set_up_is_refused(
    owner: Caller, body: dict[str, Any], param: str
) -> None:
    bot = await make_bot(owner)
    url = f"/api/v1/bots/{bot['id']}"
    for response in (
        await owner.http.post("/api/v1/bots", json={"name": "x", **body}),
        await owner.http.put(url, json={"name": "x", **body}),
        await owner.http.patch(url, json=body),
    ):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (422, "provider_not_configured", param)
    assert (await owner.http.get(url)).json() == bot


@pytest.mark.parametrize("named", [["a b"], [""], ["x" * 101], ["m"] * 5, "local/extractive"])
async def test_fallback_models_are_a_few_names(owner: Caller, named: object) -> None:
    body = {"name": "x", "configuration": {"fallback_models": named}}
    error = (await owner.http.post("/api/v1/bots", json=body)).json()["error"]
    assert error["code"] == "invalid_request"
    assert error["param"].startswith("configuration.fallback_models")


async def test_a_bot_whose_provider_lost_its_key_can_still_be_changed(owner: Caller, engine: AsyncEngine) -> None:
    bot = await make_bot(owner)
    async with engine.begin() as connection:
        await connection.execute(update(bots).where(bots.c.id == bot["id"]).values(model="openai/gpt-5.4"))
    url = f"/api/v1/bots/{bot['id']}"
    assert (await owner.http.patch(url, json={"description": "New"})).json()["model"] == "openai/gpt-5.4"
    changed = await owner.http.patch(url, json={"model": None, "configuration": {"fallback_models": ["extractive"]}})
    assert (changed.json()["model"], changed.json()["configuration"]["fallback_models"]) == (None, ["extractive"])
