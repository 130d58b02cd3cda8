"""The same key and body answers what the first answered."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres import bots as bot_rows
from adapters.postgres.tables import bots, idempotency_keys
from tests.api.conftest import Caller

KEY = {"Idempotency-Key": "a-key-of-the-client"}


async def test_a_repeated_request_gets_the_first_answer(owner: Caller, engine: AsyncEngine) -> None:
    first = await owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)
    second = await owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)

    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.json(), second.headers["Location"]) == (
        first.status_code,
        first.json(),
        first.headers["Location"],
    )
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(bots))).scalar_one() == 1


async def test_twenty_at_a_time_do_it_once(owner: Caller) -> None:
    answers = await asyncio.gather(
        *(owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY) for _ in range(20))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1


async def test_another_body_or_path_under_the_key_is_409(owner: Caller) -> None:
    await owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)

    for path, body in (("/api/v1/bots", {"name": "y"}), ("/api/v1/api-keys", {"name": "x"})):
        response = await owner.http.post(path, json=body, headers=KEY)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "idempotency_key_reused")


async def test_a_key_is_its_owners_own(owner: Caller, stranger: Caller) -> None:
    mine = await owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)
    theirs = await stranger.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)

    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


async def test_a_failed_request_leaves_the_key_free(owner: Caller) -> None:
    past = {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}
    assert (await owner.http.post("/api/v1/api-keys", json=past, headers=KEY)).status_code == 422
    assert (await owner.http.post("/api/v1/api-keys", json={"name": "x"}, headers=KEY)).status_code == 201


async def test_a_secret_is_replayed_but_lies_encrypted(owner: Caller, engine: AsyncEngine) -> None:
    first = await owner.http.post("/api/v1/api-keys", json={"name": "x"}, headers=KEY)
    second = await owner.http.post("/api/v1/api-keys", json={"name": "x"}, headers=KEY)

    assert second.json()["key"] == first.json()["key"]
    async with engine.connect() as connection:
        row = (await connection.execute(select(idempotency_keys))).one()
    assert first.json()["key"].encode() not in row.response
    assert KEY["Idempotency-Key"].encode() not in row.key_hash


async def test_a_login_is_replayed_with_the_same_tokens(client: AsyncClient) -> None:
    await client.post("/api/v1/auth/register", json={"email": "a@example.com", "password": "correct horse"})
    form = {"username": "a@example.com", "password": "correct horse"}

    first = await client.post("/api/v1/auth/token", data=form, headers=KEY)
    second = await client.post("/api/v1/auth/token", data=form, headers=KEY)

    assert first.status_code == 200
    assert second.json() == first.json()
    other = await client.post("/api/v1/auth/token", data={**form, "scope": "read"}, headers=KEY)
    assert other.status_code == 409


async def test_a_logout_is_replayed_without_a_body(client: AsyncClient) -> None:
    for replayed in (None, "true"):
        response = await client.post("/api/v1/auth/logout", json={"refresh_token": "x"}, headers=KEY)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers.get("Idempotent-Replayed") == replayed


async def test_a_key_of_no_or_too_many_characters_is_422(owner: Caller) -> None:
    for key in ("", "x" * 256):
        response = await owner.http.post("/api/v1/bots", json={"name": "x"}, headers={"Idempotency-Key": key})
        assert response.status_code == 422


async def test_a_twin_that_waits_too_long_is_told_to_come_back(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request is stopped inside its transaction."""
    reached, go = asyncio.Event(), asyncio.Event()
    add = bot_rows.add

    async def slow(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
        reached.set()
        await go.wait()
        return await add(connection, row)

    monkeypatch.setattr(bot_rows, "add", slow)
    first = asyncio.create_task(owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY))
    await reached.wait()

    twin = await owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)
    go.set()

    assert (twin.status_code, twin.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert int(twin.headers["Retry-After"]) > 0
    made = await first
    again = await owner.http.post("/api/v1/bots", json={"name": "x"}, headers=KEY)
    assert (made.status_code, again.json()) == (201, made.json())
