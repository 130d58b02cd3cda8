"""Registration, tokens, profile and API keys over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.clock import now
from adapters.postgres.tables import api_keys, refresh_tokens, users
from adapters.settings import Settings
from api.security import issue_access_token
from domain.ids import UserId
from tests.api.conftest import Caller

ADA = {"email": " Ada@Example.com", "password": "correct horse", "company_name": "Engines"}


async def log_in(client: AsyncClient, password: str = "correct horse", email: str = "ada@example.com") -> Response:
    return await client.post("/api/v1/auth/token", data={"username": email, "password": password})


async def tokens_of(client: AsyncClient) -> dict[str, Any]:
    await client.post("/api/v1/auth/register", json=ADA)
    response = await log_in(client)
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    return tokens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def refresh(client: AsyncClient, token: str) -> Response:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def test_an_account_logs_in_and_sees_itself(client: AsyncClient, engine: AsyncEngine) -> None:
    made = await client.post("/api/v1/auth/register", json=ADA)
    assert made.status_code == 201
    assert made.json()["email"] == "ada@example.com"
    assert "password" not in made.text

    tokens = (await log_in(client, email="ADA@example.com")).json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 1800)
    me = (await client.get("/api/v1/users/me", headers=bearer(tokens["access_token"]))).json()
    assert (me["company_name"], me["role"], me["plan"]) == ("Engines", "owner", "free")
    assert me["usage"] == {"bots": 0, "documents": 0, "stored_bytes": 0, "messages": 0, "model_tokens": 0}

    async with engine.connect() as connection:
        assert (await connection.execute(select(users.c.password_hash))).scalar_one().startswith("$argon2id$")


async def test_an_address_is_registered_once_even_by_two_at_a_time(client: AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/api/v1/auth/register", json=ADA) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@x.org", "a b@x.org", "ada@x", "a@b@c.org", "a" * 300 + "@x.org"]
)
async def test_what_is_no_address_is_refused(client: AsyncClient, email: str) -> None:
    response = await client.post("/api/v1/auth/register", json={**ADA, "email": email})

    assert (response.status_code, response.json()["error"]["param"]) == (422, "email")


async def test_a_wrong_password_and_an_unknown_address_answer_the_same(client: AsyncClient) -> None:
    await tokens_of(client)

    wrong, unknown = await log_in(client, "wrong horse"), await log_in(client, email="bob@example.com")

    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert wrong.json()["error"]["message"] == unknown.json()["error"]["message"]


async def test_no_token_a_bad_one_and_an_expired_one_are_401(
    client: AsyncClient, owner: Caller, settings: Settings
) -> None:
    secret = settings.secret_key.get_secret_value()
    old = issue_access_token(owner.id, secret=secret, now=now() - timedelta(hours=2), lifetime=timedelta(hours=1))
    forged = issue_access_token(owner.id, secret="another secret", now=now(), lifetime=timedelta(hours=1))
    nobody = issue_access_token(UserId(uuid4()), secret=secret, now=now(), lifetime=timedelta(hours=1))
    cases = {"": "invalid_credentials", old: "token_expired", forged: "invalid_credentials",
             nobody: "invalid_credentials", "cs_00_x": "invalid_credentials"}  # fmt: skip
    for token, code in cases.items():
        response = await client.get("/api/v1/users/me", headers=bearer(token) if token else {})
        assert (response.status_code, response.json()["error"]["code"]) == (401, code)
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_refresh_rotates_and_a_spent_token_ends_the_login(client: AsyncClient) -> None:
    first = await tokens_of(client)
    second = (await refresh(client, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]

    reused = await refresh(client, first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]["code"]) == (401, "refresh_token_reused")
    assert (await refresh(client, second["refresh_token"])).status_code == 401


async def test_one_of_two_rotations_at_a_time_wins(client: AsyncClient) -> None:
    first = await tokens_of(client)

    answers = await asyncio.gather(*(refresh(client, first["refresh_token"]) for _ in range(2)))

    assert sorted(answer.status_code for answer in answers) == [200, 401]


async def test_an_expired_refresh_token_and_one_of_a_closed_login_fail(
    client: AsyncClient, engine: AsyncEngine
) -> None:
    first = await tokens_of(client)
    gone = await client.post("/api/v1/auth/logout", json={"refresh_token": first["refresh_token"]})
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await refresh(client, first["refresh_token"])).status_code == 401

    second = (await log_in(client)).json()
    async with engine.begin() as connection:
        await connection.execute(update(refresh_tokens).values(expires_at=now()))
    expired = await refresh(client, second["refresh_token"])
    assert (expired.status_code, expired.json()["error"]["code"]) == (401, "token_expired")


async def test_a_profile_is_changed_and_cleared(owner: Caller) -> None:
    me = (await owner.http.patch("/api/v1/users/me", json={"first_name": "Ada", "last_name": "L"})).json()
    assert (me["first_name"], me["last_name"]) == ("Ada", "L")
    me = (await owner.http.patch("/api/v1/users/me", json={"last_name": None})).json()
    assert (me["first_name"], me["last_name"]) == ("Ada", None)
    assert (await owner.http.patch("/api/v1/users/me", json={"role": "admin"})).status_code == 422


async def test_a_key_is_shown_once_works_within_its_scopes_and_dies(
    owner: Caller, client: AsyncClient, engine: AsyncEngine
) -> None:
    made = (await owner.http.post("/api/v1/api-keys", json={"name": "web", "scopes": ["read"]})).json()
    key = bearer(made["key"])
    assert made["key"].startswith(made["prefix"])

    listed = await owner.http.get("/api/v1/api-keys")
    assert made["key"] not in listed.text
    assert [each["id"] for each in listed.json()["data"]] == [made["id"]]
    async with engine.connect() as connection:
        stored = (await connection.execute(select(api_keys))).one()
    assert made["key"].encode() not in stored.secret_hash

    assert (await client.get("/api/v1/bots", headers=key)).status_code == 200
    assert (await client.post("/api/v1/bots", json={"name": "x"}, headers=key)).status_code == 403
    assert (await client.get("/api/v1/api-keys", headers=key)).status_code == 403
    used = (await owner.http.get("/api/v1/api-keys")).json()["data"][0]["last_used_at"]
    assert used is not None

    assert (await owner.http.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
    assert (await client.get("/api/v1/bots", headers=key)).status_code == 401


async def test_a_key_that_may_write_cannot_make_keys(owner: Caller, client: AsyncClient) -> None:
    made = (await owner.http.post("/api/v1/api-keys", json={"name": "web"})).json()

    assert made["scopes"] == ["read", "write"]
    assert (await client.post("/api/v1/bots", json={"name": "x"}, headers=bearer(made["key"]))).status_code == 201
    refused = await client.post("/api/v1/api-keys", json={"name": "y"}, headers=bearer(made["key"]))
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission")


async def test_an_expired_key_says_so(owner: Caller, client: AsyncClient, engine: AsyncEngine) -> None:
    past = {"name": "web", "expires_at": (now() - timedelta(days=1)).isoformat()}
    assert (await owner.http.post("/api/v1/api-keys", json=past)).status_code == 422
    soon = {"name": "web", "expires_at": (now() + timedelta(days=1)).isoformat()}
    made = (await owner.http.post("/api/v1/api-keys", json=soon)).json()
    async with engine.begin() as connection:
        await connection.execute(update(api_keys).values(expires_at=now()))

    response = await client.get("/api/v1/bots", headers=bearer(made["key"]))

    assert (response.status_code, response.json()["error"]["code"]) == (401, "token_expired")
