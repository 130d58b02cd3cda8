"""A bot's fallback through HTTP and Temporal: three providers, real clients, and only their servers are doubles."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.clock import now
from adapters.models.budgeted import budgeted
from adapters.models.providers import open_models
from adapters.settings import Settings
from adapters.wiring import Adapters
from tests import gemini_double as g
from tests.anthropic_double import AnthropicDouble, running_anthropic
from tests.api.conftest import Caller
from tests.api.turn_service import all_events, serving
from tests.builders import a_conversation, a_ready_document
from tests.gemini_double import GeminiDouble, running_double
from tests.openai_double import OpenAIDouble, running_openai

FACT = "The warranty lasts two years."


@dataclass(frozen=True, slots=True)
class Providers:
    gemini: GeminiDouble
    openai: OpenAIDouble
    anthropic: AnthropicDouble


@pytest_asyncio.fixture
async def providers() -> AsyncIterator[Providers]:
    async with running_double() as gemini, running_openai() as openai, running_anthropic() as anthropic:
        yield Providers(gemini, openai, anthropic)


@pytest.fixture
def settings(settings: Settings, providers: Providers) -> Settings:
    key = SecretStr("key")
    return settings.model_copy(
        update={
            "provider": "gemini", "gemini_api_key": key, "gemini_base_url": providers.gemini.url,
            "openai_api_key": key, "openai_base_url": f"{providers.openai.url}/v1",
            "anthropic_api_key": key, "anthropic_base_url": providers.anthropic.url,
        }
    )  # fmt: skip


@pytest_asyncio.fixture
async def adapters(adapters: Adapters, settings: Settings, engine: AsyncEngine) -> AsyncIterator[Adapters]:
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_models(settings))
        models = budgeted(opened, engine, settings, now)
        yield replace(adapters, embedder=models.embedder, generator=models.generator)


async def a_bots_messages(owner: Caller, engine: AsyncEngine, adapters: Adapters) -> str:
    """Make a bot over HTTP whose models are of three providers, with one document."""
    body = {
        "name": "Terms",
        "model": "gemini/gemini-2.5-flash",
        "configuration": {"fallback_models": ["openai/gpt-5.4", "anthropic/claude-haiku-5-5"]},
    }
    bot = (await owner.http.post("/api/v1/bots", json=body)).json()
    await a_ready_document(engine, owner.id, bot["id"], [FACT], adapters.embedder, name="terms.pdf")
    return f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot['id'])}/messages"


async def ask(owner: Caller, adapters: Adapters, url: str) -> list[tuple[int, str, dict[str, Any]]]:
    async with serving(adapters):
        return await all_events(await owner.http.post(url, json={"content": "How long is it?", "stream": True}))


async def test_the_message_says_which_model_answered_where_the_first_is_down(
    app: FastAPI, owner: Caller, adapters: Adapters, engine: AsyncEngine, providers: Providers
) -> None:
    url = await a_bots_messages(owner, engine, adapters)
    providers.gemini.script("generate", *[g.error(503)] * 3)
    seen = await ask(owner, adapters, url)
    message = seen[-1][2]["message"]
    assert (message["status"], message["model"]) == ("complete", "openai/gpt-5.4")
    assert [citation["quote"] for citation in message["citations"]] == ["The warranty lasts two years"]
    assert (await owner.http.get(url)).json()["data"][0] == message
    assert (providers.gemini.calls["generate"], providers.openai.calls["generate"]) == (2, 1)


async def test_where_all_are_down_the_turn_fails_with_the_last_ones_reason(
    app: FastAPI, owner: Caller, adapters: Adapters, engine: AsyncEngine, providers: Providers
) -> None:
    url = await a_bots_messages(owner, engine, adapters)
    for double in (providers.gemini, providers.openai):
        double.script("generate", *[g.error(401, "UNAUTHENTICATED")] * 9)
    providers.anthropic.script("generate", *[g.error(529)] * 9)
    seen = await ask(owner, adapters, url)
    assert seen[-1][1] == "turn.failed"
    error = seen[-1][2]["error"]
    assert error["code"] == "provider_unavailable"
    assert error["message"].startswith("Anthropic failed (529")
    assert providers.anthropic.calls["generate"] == 3
    # Two that are refused their keys make way at once, and are asked last from then on.
    assert providers.gemini.calls["generate"] == providers.openai.calls["generate"] <= 3
