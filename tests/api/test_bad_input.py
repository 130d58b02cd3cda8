"""Bad input gets a clear error and changes nothing, on every route that could take it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.clock import now
from adapters.postgres.tables import metadata
from adapters.settings import Settings
from api.security import issue_access_token
from tests.api.conftest import Caller
from tests.api.test_bots import make_bot
from tests.api.test_service import METHODS

LONG = "x" * 10_000


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if method in METHODS and path.startswith("/api/"):
                yield method, path, operation


def filled(path: str, value: str) -> str:
    named = path.replace("{number}", "1")
    return "/".join(value if part.startswith("{") else part for part in named.split("/"))


async def rows(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        return {
            table.name: int((await connection.execute(select(func.count()).select_from(table))).scalar_one())
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("bad", ["nonsense", "0199f0c4-b8e9-7b6c-8a51", "%00", "0" * 10_000, "..%2f..%2fetc"])
async def test_a_bad_uuid_is_422_or_no_path_on_every_route(owner: Caller, app: FastAPI, bad: str) -> None:
    walked = 0
    for method, path, _ in operations(app):
        if "{" not in path:
            continue
        response = await owner.http.request(method, filled(path, bad))
        error = response.json()["error"]
        # An encoded slash makes it another path, where there is nothing.
        assert (response.status_code, error["type"]) in {(422, "invalid_request"), (404, "not_found")}, (method, path)
        assert response.status_code == 422 or "%2f" in bad, (method, path)
        walked += 1
    assert walked > 25


@pytest.mark.parametrize("body", [b"{", b"name=x", b"\xff\xfe", b"[" * 5000])
async def test_a_body_that_is_not_json_is_400_on_every_route(owner: Caller, app: FastAPI, body: bytes) -> None:
    walked = 0
    for method, path, operation in operations(app):
        if "application/json" not in operation.get("requestBody", {}).get("content", {}):
            continue
        headers = {"Content-Type": "application/json"}
        response = await owner.http.request(method, filled(path, str(uuid4())), content=body, headers=headers)
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request"), (method, path)
        walked += 1
    assert walked > 10


def texts(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Every field of text in every JSON body, in the body's own example."""
    schemas = app.openapi()["components"]["schemas"]
    for method, path, operation in operations(app):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        whole = schemas.get(content.get("$ref", "").rsplit("/", 1)[-1], content)
        for each in whole.get("oneOf") or content.get("anyOf", [content]):
            shape = schemas.get(each.get("$ref", "").rsplit("/", 1)[-1], {})
            for field, value in shape.get("properties", {}).items():
                kinds = [value, *value.get("anyOf", [])]
                if any(kind.get("type") == "string" and kind.get("format") in (None, "password") for kind in kinds):
                    yield method, path, shape["example"], field


@pytest.mark.parametrize("bad", ["a\0b", "\0", "\ud800"])
async def test_a_nul_or_half_a_character_in_any_text_is_422_and_names_the_field(
    owner: Caller, app: FastAPI, engine: AsyncEngine, bad: str
) -> None:
    before, walked = await rows(engine), 0
    for method, path, example, field in texts(app):
        body = {**example, field: bad}
        content, headers = json.dumps(body), {"Content-Type": "application/json"}
        response = await owner.http.request(method, filled(path, str(uuid4())), content=content, headers=headers)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (422, field), (method, path, field, response.text)
        walked += 1
    assert walked > 15
    assert await rows(engine) == before


@pytest.mark.parametrize("bad", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_time_that_utc_does_not_have_is_422_and_names_the_field(owner: Caller, bad: str) -> None:
    bot = f"/api/v1/bots/{(await make_bot(owner))['id']}"
    conversation = (await owner.http.post(f"{bot}/conversations")).json()["id"]
    within = {"filter": {"created_after": bad}}
    answers = {
        "created_before": await owner.http.get(f"{bot}/documents", params={"created_before": bad}),
        "expires_at": await owner.http.post("/api/v1/api-keys", json={"name": "website", "expires_at": bad}),
        "filter.created_after": await owner.http.post(f"{bot}/search", json={"query": "leave"} | within),
    }
    url = f"/api/v1/conversations/{conversation}/messages"
    asked = await owner.http.post(url, json={"content": "How long?"} | within)
    for field, response in [*answers.items(), ("filter.created_after", asked)]:
        assert (response.status_code, response.json()["error"]["param"]) == (422, field), response.text


async def test_a_name_of_ten_thousand_characters_is_422_wherever_a_name_is_taken(owner: Caller, app: FastAPI) -> None:
    walked = 0
    for method, path, example, field in texts(app):
        if field not in {"name", "title", "username", "first_name", "last_name", "company_name", "email"}:
            continue
        response = await owner.http.request(method, filled(path, str(uuid4())), json={**example, field: LONG})
        assert (response.status_code, response.json()["error"]["param"]) == (422, field), (method, path)
        walked += 1
    assert walked > 10
    bot = (await make_bot(owner))["id"]
    uploaded = await owner.http.post(
        f"/api/v1/bots/{bot}/documents", files={"file": ("a.txt", b"text")}, data={"name": LONG}
    )
    assert (uploaded.status_code, uploaded.json()["error"]["param"]) == (422, "name")
    listed = await owner.http.get(f"/api/v1/bots/{bot}/documents", params={"name": LONG})
    assert (listed.status_code, listed.json()["error"]["param"]) == (422, "name")


async def test_a_cursor_from_elsewhere_is_422_on_every_list(owner: Caller, app: FastAPI) -> None:
    bot = (await make_bot(owner))["id"]
    await make_bot(owner)
    after = (await owner.http.get("/api/v1/bots", params={"limit": 1})).json()["next"]
    conversation = (await owner.http.post(f"/api/v1/bots/{bot}/conversations")).json()["id"]
    text = {"name": "a", "text": "b"}
    document = (await owner.http.post(f"/api/v1/bots/{bot}/documents/text", json=text)).json()["id"]
    files = {"files": ("a.txt", b"another text")}
    imported = (await owner.http.post(f"/api/v1/bots/{bot}/imports", files=files)).json()["id"]
    crawl = (await owner.http.post(f"/api/v1/bots/{bot}/crawls", json={"url": "http://a.example/"})).json()["id"]
    ids = {"bot_id": bot, "conversation_id": conversation, "document_id": document}
    ids |= {"import_id": imported, "crawl_id": crawl}
    walked = 0
    for method, path, operation in operations(app):
        if "after" not in {each["name"] for each in operation.get("parameters", []) if path != "/api/v1/bots"}:
            continue
        if "order" not in {each["name"] for each in operation["parameters"]}:
            continue  # a turn's events go on after a number
        response = await owner.http.request(method, path.format(**ids), params={"after": after})
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_cursor"), path
        walked += 1
    assert walked == 10


async def test_an_expired_token_is_401_and_says_so_on_every_route(
    owner: Caller, app: FastAPI, settings: Settings
) -> None:
    secret, hour = settings.secret_key.get_secret_value(), timedelta(hours=1)
    old = issue_access_token(owner.id, secret=secret, now=now() - 2 * hour, lifetime=hour)
    walked = 0
    for method, path, operation in operations(app):
        if "security" not in operation:
            continue
        headers = {"Authorization": f"Bearer {old}"}
        response = await owner.http.request(method, filled(path, str(uuid4())), headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "token_expired"), (method, path)
        assert response.headers["WWW-Authenticate"] == "Bearer"
        walked += 1
    assert walked > 30
