"""Every kind of failure as OpenAI's own client takes it: its class, its fields, and whether to come again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import openai
import pytest
from asgi_lifespan import LifespanManager
from openai import AsyncOpenAI

from adapters.postgres.engine import open_engine
from adapters.wiring import Adapters
from api.main import create_app
from api.openai import chat
from domain.errors import DomainError, ProviderError, ProviderQuotaExhausted, ProviderRateLimited
from domain.ids import BotId
from tests.api.conftest import Caller
from tests.api.openai.conftest import QUESTION
from tests.api.turn_service import listening
from tests.servers import free_port

SHAPE = {"message", "type", "param", "code"}


@dataclass(frozen=True)
class Door:
    """What a failure is brought about with."""

    client: AsyncOpenAI
    owner: Caller
    adapters: Adapters
    bot: BotId
    patch: pytest.MonkeyPatch


async def embed(client: AsyncOpenAI, text: str = "A text.", **more: Any) -> None:
    await client.embeddings.create(model="words", input=text, **more)


async def a_key_that_only_reads(door: Door) -> None:
    made = await door.owner.http.post("/api/v1/api-keys", json={"name": "reader", "scopes": ["read"]})
    await embed(door.client.with_options(api_key=made.json()["key"]))


async def a_key_of_another_request(door: Door) -> None:
    key = {"Idempotency-Key": "one"}
    await embed(door.client, extra_headers=key)
    await embed(door.client, "Another text.", extra_headers=key)


def a_provider_that_says(error: DomainError) -> Callable[[Door], Awaitable[None]]:
    async def refuse(texts: Sequence[str]) -> None:
        raise error

    async def ask(door: Door) -> None:
        door.patch.setattr(door.adapters.embedder, "embed_documents", refuse)
        await embed(door.client)

    return ask


async def a_database_that_is_away(door: Door) -> None:
    away = open_engine(f"postgresql+asyncpg://postgres:x@127.0.0.1:{free_port()}/nothing")
    app = create_app(adapters=replace(door.adapters, engine=away))
    try:
        async with LifespanManager(app), listening(app, {}) as http:
            await embed(door.client.with_options(base_url=f"{http.base_url}/openai/v1"))
    finally:
        await away.dispose()


async def an_answer_that_takes_longer_than_is_waited(door: Door) -> None:
    door.patch.setattr(chat, "WAIT", timedelta(milliseconds=50))  # and nobody serves the turn
    await door.client.chat.completions.create(model=str(door.bot), messages=[{"role": "user", "content": QUESTION}])


@pytest.mark.parametrize(
    ("bring_about", "raised", "status", "kind", "code"),
    [
        (a_key_that_only_reads, openai.PermissionDeniedError, 403, "permission_error", "permission_denied"),
        (a_key_of_another_request, openai.ConflictError, 409, "conflict_error", "idempotency_key_reused"),
        (
            a_provider_that_says(ProviderRateLimited("Too many requests.")),
            openai.RateLimitError, 429, "rate_limit_error", "provider_rate_limited",
        ),
        (
            a_provider_that_says(ProviderQuotaExhausted("The day's quota is spent.")),
            openai.RateLimitError, 429, "insufficient_quota", "quota_exhausted",
        ),
        (
            a_provider_that_says(ProviderError("The model provider does not answer.")),
            openai.InternalServerError, 502, "server_error", ProviderError.code,
        ),
        (a_database_that_is_away, openai.InternalServerError, 503, "server_error", "unavailable"),
        (
            an_answer_that_takes_longer_than_is_waited,
            openai.InternalServerError, 504, "server_error", "answer_pending",
        ),
    ],
)  # fmt: skip
async def test_a_failure_is_told_in_openais_shape_and_says_whether_to_come_again(
    client_of_openai: AsyncOpenAI,
    owner: Caller,
    adapters: Adapters,
    bot: BotId,
    monkeypatch: pytest.MonkeyPatch,
    bring_about: Callable[[Door], Awaitable[None]],
    raised: type[openai.APIStatusError],
    status: int,
    kind: str,
    code: str,
) -> None:
    with pytest.raises(raised) as failed:
        await bring_about(Door(client_of_openai, owner, adapters, bot, monkeypatch))
    error = failed.value
    body = error.response.json()
    assert (set(body), set(body["error"])) == ({"error"}, SHAPE)
    assert (error.status_code, error.type, error.code) == (status, kind, code)
    assert body["error"]["message"]
    later = error.response.headers.get("Retry-After")
    assert (later is not None and int(later) > 0) is (status in (429, 503))
    # An answer that is still worked on would be paid for twice, and a conflict stays; all else may get through the next time.
    assert error.response.headers.get("x-should-retry") == ("false" if status in (409, 504) else None)
