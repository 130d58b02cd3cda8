"""Connections over HTTP: secrets go in and never come out, and a bot names only what its owner has."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import connections, idempotency_keys
from tests.api.conftest import Caller

DSN = "postgresql://reader:s3cret@db.example.com/orders"


async def registered(owner: Caller, **body: Any) -> dict[str, Any]:
    response = await owner.http.post("/api/v1/connections", json={"name": "Orders"} | body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_secret_is_stored_sealed_and_never_shown_again(owner: Caller, engine: AsyncEngine) -> None:
    body = {"name": "Orders", "kind": "postgres", "dsn": DSN}
    first = await owner.http.post("/api/v1/connections", json=body, headers={"Idempotency-Key": "k"})
    again = await owner.http.post("/api/v1/connections", json=body, headers={"Idempotency-Key": "k"})
    made = first.json()
    assert again.json() == made
    assert (made["name"], made["kind"], made["host"]) == ("Orders", "postgres", "db.example.com")
    url = first.headers["Location"]
    listed = (await owner.http.get("/api/v1/connections")).json()["data"]
    assert (await owner.http.get(url)).json() == listed[0] == made
    assert "s3cret" not in f"{first.text}{listed}"
    async with engine.connect() as connection:
        for table in (connections, idempotency_keys):
            assert "s3cret" not in str((await connection.execute(select(table))).all())
    assert (await owner.http.delete(url)).status_code == 204
    assert (await owner.http.get(url)).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "postgres", "dsn": "mysql://a:s3cret@db/x"},
        {"kind": "postgres", "dsn": "postgresql://a:s3cret@one,two/x"},
        {"kind": "http", "headers": {"Authorization": "s3cret\r\nHost: evil"}},
        {"kind": "http", "headers": {"Host": "s3cret"}},
        {"kind": "http", "headers": {}},
        {"kind": "ftp", "dsn": DSN},
    ],
)
async def test_what_cannot_be_reached_is_refused_without_repeating_it(owner: Caller, body: dict[str, Any]) -> None:
    response = await owner.http.post("/api/v1/connections", json={"name": "Orders"} | body)
    assert response.status_code == 422
    assert "s3cret" not in response.text


async def test_a_bot_names_only_connections_that_its_owner_has_and_of_the_right_kind(
    owner: Caller, stranger: Caller
) -> None:
    database = await registered(owner, kind="postgres", dsn=DSN)
    headers = await registered(owner, kind="http", headers={"X-Key": "s3cret"})
    theirs = await registered(stranger, kind="postgres", dsn=DSN)
    sql: dict[str, Any] = {"type": "sql_query"}
    http: dict[str, Any] = {"type": "http_request", "allow": ["https://api.example.com/v1"]}

    async def saved(tool: dict[str, Any]) -> tuple[int, str | None]:
        body = {"name": "Bot", "configuration": {"tools": [tool]}}
        response = await owner.http.post("/api/v1/bots", json=body)
        return response.status_code, response.json().get("error", {}).get("param")

    refused = (422, "configuration.tools")
    assert await saved(sql | {"connection_id": database["id"]}) == (201, None)
    assert await saved(http | {"connection_id": headers["id"]}) == (201, None)
    assert await saved(http) == (201, None)
    assert await saved(sql | {"connection_id": theirs["id"]}) == refused
    assert await saved(sql | {"connection_id": headers["id"]}) == refused
    assert await saved(http | {"connection_id": database["id"]}) == refused
