"""OpenAI's own client follows a response whose API process, or worker, is killed in its middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AsyncStream, DefaultAsyncHttpxClient

from tests.faults.models import HANDBOOK, Model, answer, asked
from tests.gemini_double import GeminiDouble, stalled
from tests.person import Person
from tests.processes import Api, Deployment, Worker

_SECONDS = 120
DELTA = "response.output_text.delta"


@asynccontextmanager
async def the_door_of(api: Api, key: str) -> AsyncIterator[AsyncOpenAI]:
    http = DefaultAsyncHttpxClient(trust_env=False)
    base = f"http://127.0.0.1:{api.port}/openai/v1"
    async with AsyncOpenAI(base_url=base, api_key=key, max_retries=0, http_client=http) as client:
        yield client


async def all_of(stream: AsyncStream[Any], seen: list[Any]) -> None:
    while (event := await anext(stream, None)) is not None:
        seen.append(event)


@pytest.mark.parametrize("victim", ["the API", "the worker"])
async def test_a_response_is_followed_past_a_kill_to_the_text_that_is_stored(
    deployed: Deployment, double: GeminiDouble, worker: Worker, api: Api, person: Person, victim: str
) -> None:
    model, question = Model(), asked(f"follow a response past the kill of {victim}")
    double.answering = model
    double.script("generate", stalled(after=12))
    await person.ready(await person.upload("handbook.txt", HANDBOOK.encode()))
    key = (await person.post("/api-keys", json={"name": "door", "scopes": ["read", "write"]}))["key"]
    other = await deployed.api()
    async with asyncio.timeout(_SECONDS), the_door_of(api, key) as door, the_door_of(other, key) as elsewhere:
        stream = await door.responses.create(model=person.bot, input=question, stream=True)
        seen: list[Any] = [await anext(stream)]
        while seen[-1].type != DELTA:
            seen.append(await anext(stream))
        id_ = seen[0].response.id
        if victim == "the API":
            await api.kill()
            with pytest.raises((openai.APIError, httpx2.TransportError)):
                await all_of(stream, seen)
            last = seen[-1].sequence_number
            stream = await elsewhere.responses.retrieve(id_, stream=True, starting_after=last)
        else:
            await worker.kill()
            await deployed.worker()
        double.release.set()
        at_the_kill = len(seen)
        await all_of(stream, seen)
        stored = await elsewhere.responses.retrieve(id_)
        for after in (-1, at_the_kill - 1):
            rest = await elsewhere.responses.retrieve(id_, stream=True, starting_after=after)
            assert [event async for event in rest] == seen[after + 1 :]
    await other.stop()
    assert model.calls[question] == (1 if victim == "the API" else 2)
    assert stored.output_text == answer(question, model.calls[question])
    assert (seen[-1].type, seen[-1].response) == ("response.completed", stored)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    item = stored.output[0].id
    assert "".join(event.delta for event in seen if event.type == DELTA and event.item_id == item) == stored.output_text
