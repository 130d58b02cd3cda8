"""What a client may send wrong on any path of the door: never a 500, never a row that cannot be shown."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import bots, turns
from domain.ids import BotId
from tests.api.conftest import Caller
from tests.api.test_service import METHODS

ASKED: Any = [{"role": "user", "content": "How long?"}]
FILE = "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11"
HALF = "\ud800"  # of a surrogate pair


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if method in METHODS and path.startswith("/openai/"):
                yield method, path, operation


@pytest.mark.parametrize("bad", ["file-abc", "vs_1", "%00", "0" * 10_000, "a%ED%A0%80"])
async def test_an_id_that_was_never_given_is_not_found_on_every_path(owner: Caller, app: FastAPI, bad: str) -> None:
    walked = 0
    for method, path, operation in operations(app):
        if "{" not in path:
            continue
        named = "/".join(bad if part.startswith("{") else part for part in path.split("/"))
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        body = example_of(app, content) if content else None
        response = await owner.http.request(method, named, json=body)
        # A text that Postgres cannot hold is told from one that names nothing.
        expected = 400 if (path, bad) == ("/openai/v1/models/{model}", "%00") else 404
        assert response.status_code == expected, (method, path, response.text)
        walked += 1
    assert walked > 15


def example_of(app: FastAPI, content: dict[str, Any]) -> Any:
    schema = app.openapi()["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[-1]]
    return schema["example"]


async def test_a_query_that_cannot_be_read_is_a_400_on_every_list(owner: Caller, app: FastAPI, bot: BotId) -> None:
    for method, path, operation in operations(app):
        names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
        known = path.replace("{vector_store_id}", str(bot))
        for name in names if method == "get" and "{" not in known else []:
            response = await owner.http.get(f"{known}?{name}=%00")
            assert response.status_code == 400, (path, name, response.text)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"messages": ASKED, "metadata": {"a": HALF}}, "metadata.a"),
        ("chat/completions", {"messages": ASKED, "metadata": {HALF: "a"}}, None),
        ("chat/completions", {"messages": ASKED, "metadata": {"a": "x" * 513}}, "metadata.a"),
        ("chat/completions", {"messages": ASKED, "metadata": {"x" * 65: "a"}}, None),
        ("chat/completions", {"messages": ASKED, "max_tokens": 10**40}, "max_tokens"),
        ("responses", {"input": "How long?", "metadata": {"a": HALF}}, "metadata.a"),
        ("responses", {"input": "How long?", "metadata": {HALF: "a"}}, None),
        ("responses", {"input": "How long?", "max_output_tokens": 2**31}, "max_output_tokens"),
        ("vector_stores", {"name": "Store", "metadata": {HALF: "a"}}, None),
        ("vector_stores/{bot}", {"metadata": {HALF: "a"}}, None),
        ("vector_stores/{bot}", {"metadata": {"a": HALF}}, "metadata.a"),
    ],
)
async def test_what_could_not_be_stored_or_shown_is_a_400_and_nothing_is_stored(
    owner: Caller, bot: BotId, engine: AsyncEngine, path: str, body: dict[str, Any], param: str | None
) -> None:
    sent = json.dumps({"model": str(bot), **body}).encode()  # httpx refuses to write halves of surrogate pairs
    headers = {"Content-Type": "application/json"}
    response = await owner.http.post(f"/openai/v1/{path.format(bot=bot)}", content=sent, headers=headers)
    assert response.status_code == 400, response.text
    if param is not None:
        assert response.json()["error"]["param"] == param
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(turns))).scalar_one() == 0
        assert (await connection.execute(select(func.count()).select_from(bots))).scalar_one() == 1


@pytest.mark.parametrize("seconds", ["²", "٣٦٠٠", "1e5", "-1", "3599"])
async def test_a_lifetime_that_is_no_number_of_seconds_is_a_400(owner: Caller, seconds: str) -> None:
    data = {"purpose": "assistants", "expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
    response = await owner.http.post("/openai/v1/files", files={"file": ("a.txt", b"A text.")}, data=data)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "expires_after")


TOOL_CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"tools": [TOOL_CALL]}, "tools"),
        ("chat/completions", {"n": 2}, "n"),
        ("chat/completions", {"response_format": {"type": "json_object"}}, "response_format"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        (
            "chat/completions",
            {"messages": [{"role": "assistant", "tool_calls": [TOOL_CALL]}, *ASKED]},
            "messages.0.tool_calls",
        ),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
        ),
        ("responses", {"input": "How long?", "store": False}, "store"),
        ("responses", {"input": "How long?", "text": {"format": {"type": "json_object"}}}, "text.format"),
        ("responses", {"input": [{"type": "function_call_output", "output": "a"}]}, "input.0.type"),
        ("embeddings", {"input": [1, 2]}, "input"),
        ("vector_stores", {"chunking_strategy": {"type": "static"}}, "chunking_strategy"),
        (
            "vector_stores/{bot}/file_batches",
            {"files": [{"file_id": FILE, "chunking_strategy": {"type": "static"}}]},
            "files.0.chunking_strategy",
        ),
    ],
)
async def test_what_is_not_offered_is_refused_by_a_code_of_its_own(
    owner: Caller, bot: BotId, path: str, body: dict[str, Any], param: str
) -> None:
    asked = {"model": str(bot), "messages": ASKED} if path.startswith("chat") else {"model": str(bot)}
    response = await owner.http.post(f"/openai/v1/{path.format(bot=bot)}", json={**asked, **body})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "not_supported", param)
