"""What operators ask, and the OpenAPI document."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.clock import now
from adapters.postgres import budgets
from adapters.postgres.budgets import Key
from api.schemas.base import Answer, Body
from api.schemas.conversations import Message
from domain.budget import Budget, Limits
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


async def test_metrics_show_what_each_model_may_be_asked_for(client: AsyncClient, engine: AsyncEngine) -> None:
    budget = Budget(adapted=Limits(requests=42), paused_until=now() + timedelta(minutes=1))
    async with engine.begin() as connection:
        key = Key("gemini", "embedder")
        await budgets.note(connection, key, requests=7, tokens=700, now=now())
        await budgets.store(connection, key, budget)
        await budgets.note(connection, Key("gemini", "long-ago"), requests=7, tokens=0, now=now() - timedelta(hours=2))

    lines = (await client.get("/metrics")).text.splitlines()

    shown = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if "model=" in line)}
    of = 'model="embedder",provider="gemini"'
    assert shown['chatsphere_model_limit_per_minute{model="embedder",of="requests",provider="gemini"}'] == 42
    assert 50 < shown[f"chatsphere_model_pause_seconds{{{of}}}"] <= 60
    assert not any("long-ago" in line for line in lines)


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


def media(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body that is taken or given."""
    for name, operation in operations(schema):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for where, body in bodies.items():
            for kind, content in body.get("content", {}).items():
                yield f"{name} {where} {kind}", content


def parts(schema: dict[str, Any], shape: dict[str, Any]) -> list[dict[str, Any]]:
    """A body's schema, or those that it may be."""
    found = []
    for each in shape.get("anyOf", [shape]):
        name = each.get("$ref", "").rsplit("/", 1)[-1]
        found.append(schema["components"]["schemas"][name] if name else each)
    return found


def test_every_body_has_a_schema_and_an_example(schema: dict[str, Any]) -> None:
    for name, content in media(schema):
        assert content.get("schema"), name
        shapes = parts(schema, content["schema"])
        binary = any(shape.get("format") == "binary" for shape in shapes)
        assert binary or "example" in content or any("example" in shape for shape in shapes), name


def test_no_field_of_a_body_may_be_anything(schema: dict[str, Any]) -> None:
    described = {"type", "$ref", "anyOf", "allOf", "oneOf", "const", "enum"}
    for name, shape in schema["components"]["schemas"].items():
        for field, value in shape.get("properties", {}).items():
            assert described & set(value), (name, field)
            assert value.get("additionalProperties") is not True, (name, field)


def test_schemas_have_names_that_a_generated_client_can_use(schema: dict[str, Any]) -> None:
    assert not [name for name in schema["components"]["schemas"] if "__" in name]


def models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from models(model)


@pytest.mark.usefixtures("app")
def test_every_example_is_what_the_server_takes_or_gives() -> None:
    shown = 0
    shapes: list[type[BaseModel]] = [*models(Body), *models(Answer), Message]
    for model in shapes:
        example = model.model_json_schema().get("example")
        if example is not None:
            model.model_validate_json(json.dumps(example))
            shown += 1
    assert shown > 20
