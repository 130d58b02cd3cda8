"""Attempts that OpenAI's own client repeats by itself, without a key: one question stays one turn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import idempotency_keys, turns
from adapters.wiring import Adapters
from domain.ids import BotId
from tests.api.conftest import Caller
from tests.api.openai.conftest import QUESTION
from tests.api.turn_service import answering

ASKED: Any = [{"role": "user", "content": QUESTION}]


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(turns))).scalar_one())


class LosesOneAnswer(httpx2.AsyncHTTPTransport):
    """A connection that breaks when the first request has been carried out, before its answer is there."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(f"{request.method} {request.url.path}")
        answer = await super().handle_async_request(request)
        if len(self.sent) > 1:
            return answer
        await answer.aread()
        raise httpx2.ReadError("broken off", request=request)


class BreaksOnce(httpx2.AsyncHTTPTransport):
    """A connection that breaks once a turn is being answered, and holds the next time."""

    def __init__(self, taken: asyncio.Event, gate: asyncio.Event) -> None:
        super().__init__()
        self._taken, self._gate, self.sent = taken, gate, 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent += 1
        if self.sent > 1:
            self._gate.set()
            return await super().handle_async_request(request)
        first = asyncio.create_task(super().handle_async_request(request))
        await self._taken.wait()
        first.cancel()
        raise httpx2.ReadError("broken off", request=request)


@asynccontextmanager
async def breaking(client: AsyncOpenAI, taken: asyncio.Event, gate: asyncio.Event) -> AsyncIterator[AsyncOpenAI]:
    """The official client as it comes, on a connection that breaks once."""
    async with DefaultAsyncHttpxClient(transport=BreaksOnce(taken, gate), trust_env=False) as web:
        yield AsyncOpenAI(base_url=str(client.base_url), api_key=client.api_key, http_client=web)


async def complete(client: AsyncOpenAI, bot: BotId) -> str:
    completion = await client.chat.completions.create(model=str(bot), messages=ASKED)
    return completion.choices[0].message.content or ""


async def respond(client: AsyncOpenAI, bot: BotId) -> str:
    return (await client.responses.create(model=str(bot), input=QUESTION)).output_text


@pytest.mark.parametrize("ask", [complete, respond])
async def test_a_connection_that_breaks_makes_no_second_turn(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine, ask: Callable[..., Any]
) -> None:
    gate = asyncio.Event()
    async with (
        answering(adapters, [gate, "Two years."], ["Asked again."]) as generator,
        breaking(client_of_openai, generator.started, gate) as client,
    ):
        assert await ask(client, bot) == "Two years."
    assert (await count(engine), len(generator.requests)) == (1, 1)


async def test_the_same_question_asked_anew_is_another_turn(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    async with answering(adapters, ["First."], ["Second."]):
        assert [await complete(client_of_openai, bot) for _ in range(2)] == ["First.", "Second."]
    assert await count(engine) == 2


async def test_a_later_attempt_finds_only_what_was_asked_in_the_same_words_just_now(
    owner: Caller, stranger: Caller, bot: BotId, engine: AsyncEngine
) -> None:
    async def ask(number: str, question: str = QUESTION, **more: Any) -> str:
        body = {"model": str(bot), "input": question, "background": True, **more}
        headers = {"X-Stainless-Retry-Count": number}
        answer = (await owner.http.post("/openai/v1/responses", json=body, headers=headers)).json()
        return str(answer.get("id") or answer["error"]["code"])

    first = await ask("0")
    assert await ask("1") == await ask("2") == first
    assert await ask("1", "In other words?") != first
    assert await ask("nonsense") != first
    latest = await ask("0")
    assert await ask("1") == latest != first
    conversation = (await owner.http.get(f"/openai/v1/responses/{latest}")).json()["conversation"]["id"]
    await owner.http.post(f"/openai/v1/responses/{latest}/cancel")
    assert await ask("1") == latest
    going_on = await ask("0", conversation=conversation)
    assert await ask("1", conversation=conversation) == going_on
    await owner.http.post(f"/openai/v1/responses/{going_on}/cancel")
    assert await ask("1", conversation=conversation) not in (going_on, "turn_in_progress")
    async with engine.begin() as connection:
        await connection.execute(update(turns).values(finished_at=datetime.now(UTC) - timedelta(minutes=1)))
    assert await ask("1") not in (first, latest)


async def make_file(client: AsyncOpenAI) -> tuple[str, int]:
    made = await client.files.create(file=("leave.txt", b"Everyone has thirty days of leave."), purpose="assistants")
    return made.id, len([each async for each in client.files.list()])


async def make_store(client: AsyncOpenAI) -> tuple[str, int]:
    made = await client.vector_stores.create(name="Handbook")
    return made.id, len([each async for each in client.vector_stores.list()])


@pytest.mark.parametrize("make", [make_file, make_store])
async def test_what_was_made_when_the_connection_broke_is_not_made_again(
    client_of_openai: AsyncOpenAI, make: Callable[[AsyncOpenAI], Awaitable[tuple[str, int]]]
) -> None:
    transport = LosesOneAnswer()
    async with DefaultAsyncHttpxClient(transport=transport, trust_env=False) as web:
        client = AsyncOpenAI(base_url=str(client_of_openai.base_url), api_key=client_of_openai.api_key, http_client=web)
        first, there_are = await make(client)
    assert (there_are, transport.sent[0]) == (1, transport.sent[1])
    again, there_are = await make(client_of_openai)
    assert there_are == 2, "the same words anew make another one"
    assert again != first


async def test_a_batch_that_was_made_is_found_by_a_later_attempt_for_a_moment(
    owner: Caller, stranger: Caller, client_of_openai: AsyncOpenAI, engine: AsyncEngine
) -> None:
    file, _ = await make_file(client_of_openai)
    store, _ = await make_store(client_of_openai)

    async def batch(who: Caller, number: str) -> str:
        path, headers = f"/openai/v1/vector_stores/{store}/file_batches", {"X-Stainless-Retry-Count": number}
        answer = (await who.http.post(path, json={"file_ids": [file]}, headers=headers)).json()
        return str(answer.get("id") or answer["error"]["code"])

    first = await batch(owner, "0")
    assert await batch(owner, "1") == await batch(owner, "2") == first
    assert await batch(stranger, "1") == "not_found"
    latest = await batch(owner, "0")
    assert await batch(owner, "1") == latest != first
    async with engine.begin() as connection:
        earlier = datetime.now(UTC) - timedelta(minutes=1)
        await connection.execute(update(idempotency_keys).values(created_at=earlier))
    assert await batch(owner, "1") not in (first, latest)


async def test_what_was_deleted_meanwhile_is_made_again(owner: Caller, bot: BotId) -> None:
    async def make(number: str, path: str, **sent: Any) -> str:
        headers = {"X-Stainless-Retry-Count": number}
        answer = await owner.http.post(f"/openai/v1/{path}", headers=headers, **sent)
        return str(answer.json()["id"])

    upload = {"files": {"file": ("leave.txt", b"Thirty days of leave.")}, "data": {"purpose": "assistants"}}
    file = await make("0", "files", **upload)
    assert await make("1", "files", **upload) == file
    await owner.http.delete(f"/openai/v1/files/{file}")
    file, gone = await make("1", "files", **upload), file
    assert file != gone
    store = await make("0", "vector_stores", json={"name": "Leave"})
    await owner.http.delete(f"/openai/v1/vector_stores/{store}")
    assert await make("1", "vector_stores", json={"name": "Leave"}) != store
    batches = f"vector_stores/{bot}/file_batches"
    batch = await make("0", batches, json={"file_ids": [file]})
    await owner.http.delete(f"/openai/v1/vector_stores/{bot}/files/{file}")
    assert await make("1", batches, json={"file_ids": [file]}) != batch
    assert (await owner.http.get(f"/openai/v1/vector_stores/{bot}/files/{file}")).status_code == 200


async def test_two_stores_that_nothing_tells_apart_are_two(owner: Caller) -> None:
    async def make(number: str) -> str:
        headers = {"X-Stainless-Retry-Count": number}
        return str((await owner.http.post("/openai/v1/vector_stores", json={}, headers=headers)).json()["id"])

    assert await make("0") != await make("1")
