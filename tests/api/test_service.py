"""What operators ask, and the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.conftest import Caller

METHODS = {"get", "post", "put", "patch", "delete"}


async def test_the_service_is_alive_and_ready(client: AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "checks": {"database": "ok", "temporal": "ok", "migrations": "ok"}}


async def test_a_schema_of_another_version_is_not_ready(client: AsyncClient, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("update alembic_version set version_num = '0000'"))

    ready = await client.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "ok", "temporal": "ok", "migrations": "failed"}
    assert "Retry-After" in ready.headers


async def test_metrics_count_by_template_and_never_by_id(client: AsyncClient, owner: Caller) -> None:
    bot = (await owner.http.post("/api/v1/bots", json={"name": "x"})).json()["id"]
    await owner.http.get(f"/api/v1/bots/{bot}")
    await owner.http.get("/some/unknown/path")

    metrics = (await client.get("/metrics")).text

    assert 'route="/api/v1/bots/{bot_id}",status="200"} 1.0' in metrics
    assert 'route="unmatched",status="404"} 1.0' in metrics
    assert 'chatsphere_documents{status="ready"} 0.0' in metrics
    assert bot not in metrics


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield f"{method} {path}", operation


@pytest.fixture
def schema(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def test_every_operation_is_described(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        assert operation.get("summary"), name
        assert operation.get("description"), name
        assert operation.get("tags"), name


def test_every_operation_shows_its_errors_in_the_one_body(schema: dict[str, Any]) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorBody"}
    for name, operation in operations(schema):
        if not name.split()[1].startswith("/api/"):
            continue
        errors = {status: r for status, r in operation["responses"].items() if status >= "400"}
        assert {"422", "500", "503"} <= set(errors), name
        for response in errors.values():
            assert response["content"]["application/json"]["schema"] == envelope, name
        if "security" in operation:
            assert {"401", "403"} <= set(errors), name
        if "{" in name:
            assert "404" in errors, name


def test_operation_ids_are_the_functions_names(schema: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(schema)]
    assert len(ids) == len(set(ids))
    assert {"create_bot", "upload_document", "get_ingestion"} <= set(ids)


def test_both_kinds_of_credential_are_offered(schema: dict[str, Any]) -> None:
    assert set(schema["components"]["securitySchemes"]) == {"AccessToken", "ApiKey"}
    offered = [set(each) for each in schema["paths"]["/api/v1/bots"]["get"]["security"]]
    assert {"AccessToken"} in offered
    assert {"ApiKey"} in offered


def test_every_post_takes_an_idempotency_key(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        if name.startswith("post "):
            assert "Idempotency-Key" in {each["name"] for each in operation.get("parameters", [])}, name
