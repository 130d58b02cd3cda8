"""Every failure has one body, and says nothing of the inside."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from asgi_lifespan import LifespanManager
from fastapi import APIRouter, FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import text
from temporalio.service import RPCError, RPCStatusCode

from adapters.postgres.engine import open_engine
from adapters.wiring import Adapters
from api.dependencies import TransactionDep
from api.main import create_app
from tests.api.conftest import Caller
from tests.servers import free_port

ENVELOPE = {"type", "code", "message", "param", "request_id"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/api/v1/bots", 401, "invalid_credentials"),
    ],
)
async def test_even_an_unknown_path_has_the_error_body(
    client: AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == ENVELOPE
    assert (error["code"], error["request_id"]) == (code, response.headers["X-Request-ID"])


@pytest.mark.parametrize("body", [b"{", b"name=x", b"\xff\xfe", b"[" * 5000, b""])
async def test_a_body_that_is_not_json_gets_a_clear_error(owner: Caller, body: bytes) -> None:
    response = await owner.http.post("/api/v1/bots", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code in (400, 422)
    assert set(response.json()["error"]) == ENVELOPE
    assert response.json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize("body", [b'"text"', b"[]", b"null", b'{"name": "\\ud800"}', b'{"name": 1}', b'{"\\ud800": 1}'])
async def test_json_of_another_shape_is_422(owner: Caller, body: bytes) -> None:
    response = await owner.http.post("/api/v1/bots", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 422


async def test_a_body_without_its_content_type_is_told_what_to_send(owner: Caller) -> None:
    response = await owner.http.post(
        "/api/v1/bots", content=b'{"name": "Helper"}', headers={"Content-Type": "text/plain"}
    )

    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["error"]["message"]


POSTGRES = {"kind": "postgres", "name": "Orders"}
KINDS = "kind: Input should be one of: postgres, http, mcp."


def with_tool(**tool: object) -> dict[str, object]:
    return {"name": "Helper", "configuration": {"tools": [tool]}}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("connections", POSTGRES, "dsn: Field required."),
        ("connections", POSTGRES | {"name": ""}, "name: String should have at least 1 character. (1 more field at fault.)"),
        ("connections", {"kind": "http", "name": "X", "headers": []}, "headers: Input should be a valid dictionary."),
        ("connections", {"kind": "http", "name": "X", "headers": {"a": 1}}, "headers.a: Input should be a valid string."),
        ("connections", {"name": "X"}, "kind: Field required."),
        ("connections", {"kind": None}, KINDS),
        ("connections", {"kind": []}, KINDS),
        ("connections", {"kind": "ftp'"}, KINDS),
        ("bots", with_tool(type="search_documents", name="a b"), "configuration.tools.0.name: "),
        ("bots", with_tool(type="search_documents", colour=1), "configuration.tools.0.colour: "),
        ("bots", with_tool(type="mcp"), "configuration.tools.0.connection_id: Field required."),
        ("bots", with_tool(type="ftp"), "configuration.tools.0.type: Input should be one of: search_documents, "),
        ("bots", with_tool(), "configuration.tools.0.type: Field required."),
        (f"turns/{UUID(int=0)}/approvals/1", {"approved": "yes"}, "approved: Input should be a valid boolean."),
        (f"turns/{UUID(int=0)}/approvals/1", {"approved": 1}, "approved: Input should be a valid boolean."),
        ("bots/x/search", {"query": "a", "filter": {"metadata": {"a": [[]]}}}, "bot_id: "),
    ],
)  # fmt: skip
async def test_a_fault_is_named_by_the_field_that_was_sent_or_left_out(
    owner: Caller, path: str, body: dict[str, object], message: str
) -> None:
    response = await owner.http.post(f"/api/v1/{path}", json=body)

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (422, message.partition(":")[0])
    assert error["message"].startswith(message)
    assert ("more field" in error["message"]) is ("more field" in message or path.endswith("search"))


async def test_two_faults_of_one_field_are_one_field_at_fault(owner: Caller) -> None:
    bot = (await owner.http.post("/api/v1/bots", json={"name": "Helper"})).json()["id"]

    refused = await owner.http.patch(f"/api/v1/bots/{bot}", json=with_tool(type="search_documents", name="a b"))

    assert refused.json()["error"]["param"] == "configuration.tools.0.name"
    assert "more field" not in refused.json()["error"]["message"]


async def test_a_json_body_over_a_megabyte_is_413_declared_or_not(owner: Caller) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    for content in (b" " * 2_000_000, pieces()):
        response = await owner.http.post("/api/v1/bots", content=content, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["error"]["type"]) == (413, "payload_too_large")


async def test_a_sane_request_id_is_taken_and_any_other_replaced(client: AsyncClient) -> None:
    for given, taken in (("abc-123", True), ("a b", False), ("x" * 129, False), ("ü", False)):
        response = await client.get("/healthz", headers={b"X-Request-ID": given.encode()})
        assert (response.headers["X-Request-ID"] == given) is taken


def failing(app: FastAPI, error: Exception) -> None:
    router = APIRouter()

    @router.get("/failing")
    async def fail() -> None:
        raise error

    app.include_router(router)


async def test_a_fault_of_ours_is_a_500_that_tells_nothing(app: FastAPI, client: AsyncClient) -> None:
    failing(app, RuntimeError("the secret of the inside"))

    response = await client.get("/failing")

    assert (response.status_code, response.json()["error"]["type"]) == (500, "internal")
    assert response.json()["error"]["request_id"] == response.headers["X-Request-ID"]
    assert "secret" not in response.text


async def test_a_statement_that_is_wrong_is_a_500_without_its_sql(app: FastAPI, client: AsyncClient) -> None:
    router = APIRouter()

    @router.get("/failing")
    async def fail(connection: TransactionDep) -> None:
        await connection.execute(text("select nothing_such"))

    app.include_router(router)

    response = await client.get("/failing")

    assert response.status_code == 500
    assert "nothing_such" not in response.text


async def test_temporal_that_is_away_is_503_with_retry_after(app: FastAPI, client: AsyncClient) -> None:
    failing(app, RPCError("connection refused by 10.0.0.1", RPCStatusCode.UNAVAILABLE, b""))

    response = await client.get("/failing")

    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert "10.0.0.1" not in response.text


async def test_a_database_that_is_away_is_503_with_retry_after(adapters: Adapters, owner: Caller) -> None:
    away = open_engine(f"postgresql+asyncpg://postgres:x@127.0.0.1:{free_port()}/nothing")
    app = create_app(adapters=replace(adapters, engine=away))
    async with LifespanManager(app), AsyncClient(transport=ASGITransport(app), base_url="http://test") as http:
        response = await http.get("/api/v1/bots", headers=owner.http.headers)
        ready = await http.get("/readyz")
    await away.dispose()

    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "failed", "temporal": "ok", "migrations": "failed"}
