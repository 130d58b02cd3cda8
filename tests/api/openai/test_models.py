"""Bots as models, and failures in OpenAI's shape."""

import openai
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from openai import AsyncOpenAI
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.ids import BotId
from tests.api.conftest import Caller
from tests.builders import a_bot

SHAPE = {"message", "type", "param", "code"}


async def test_the_models_are_the_callers_bots(
    client_of_openai: AsyncOpenAI, bot: BotId, owner: Caller, stranger: Caller, engine: AsyncEngine
) -> None:
    _, second = await a_bot(engine, owner.id, name="Second")
    await a_bot(engine, stranger.id, name="Not yours")
    listed = [model async for model in client_of_openai.models.list()]
    assert [model.id for model in listed] == [str(second), str(bot)]
    assert (listed[1].object, listed[1].owned_by) == ("model", "chatsphere")
    assert listed[1].created > 1_700_000_000


async def test_a_bot_is_found_by_its_id_and_by_a_name_that_is_unique(
    client_of_openai: AsyncOpenAI, bot: BotId, owner: Caller, engine: AsyncEngine
) -> None:
    by_id = await client_of_openai.models.retrieve(str(bot))
    by_name = await client_of_openai.models.retrieve("Handbook")
    assert by_id == by_name
    await a_bot(engine, owner.id, name="Handbook")
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of_openai.models.retrieve("Handbook")
    assert refused.value.code == "model_ambiguous"
    assert (await client_of_openai.models.retrieve(str(bot))).id == str(bot)


async def test_a_name_may_have_slashes(client_of_openai: AsyncOpenAI, owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id, name="house/handbook")
    assert (await client_of_openai.models.retrieve("house/handbook")).id == str(bot)
    assert (await owner.http.get("/openai/v1/models/house/handbook")).json()["id"] == str(bot)


@pytest.mark.parametrize("model", ["gpt-4o", "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11"])
async def test_a_model_that_is_no_bot_is_not_found(client_of_openai: AsyncOpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client_of_openai.models.retrieve(model)
    error = missing.value
    assert (error.code, error.param, error.type) == ("model_not_found", "model", "invalid_request_error")


async def test_a_wrong_key_is_told_in_openais_shape(client_of_openai: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        await client_of_openai.with_options(api_key="cs_00000000_nothing").models.list()
    assert (refused.value.type, refused.value.code) == ("authentication_error", "invalid_credentials")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/openai/v1/nowhere", 404, "not_found"),
        ("GET", "/openai/nowhere", 404, "not_found"),
        ("PUT", "/openai/v1/models", 405, "method_not_allowed"),
        ("GET", "/openai/v1/models", 401, "invalid_credentials"),
    ],
)
async def test_every_path_of_the_door_fails_in_openais_shape(
    client: AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == SHAPE
    assert response.json()["error"]["code"] == code
    assert response.headers["X-Request-ID"]
    assert int(response.headers["Content-Length"]) == len(response.content)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"model": 7, "messages": []}', b'{"model": "a\\u0000b"}'])
async def test_a_bad_body_is_a_400_in_openais_shape(owner: Caller, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = await owner.http.post("/openai/v1/chat/completions", content=body, headers=headers)
    assert (response.status_code, set(response.json()["error"])) == (400, SHAPE)
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_that_is_too_large_is_a_413_in_openais_shape(owner: Caller) -> None:
    response = await owner.http.post("/openai/v1/chat/completions", content=b" " * 2_000_000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "payload_too_large")
    assert set(response.json()["error"]) == SHAPE


async def test_a_fault_of_ours_is_told_in_openais_shape(app: FastAPI, client: AsyncClient) -> None:
    @app.get("/openai/v1/failing")
    async def fail() -> None:
        raise RuntimeError("the secret of the inside")

    response = await client.get("/openai/v1/failing")
    assert (response.status_code, set(response.json()["error"])) == (500, SHAPE)
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text


async def test_the_other_paths_keep_their_own_shape(client: AsyncClient) -> None:
    for path in ("/api/v1/nowhere", "/openai"):
        assert "request_id" in (await client.get(path)).json()["error"]
