"""Every provider that is set up is open, and each request goes to the one that it names."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from pydantic import SecretStr, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.models.budgeted import budgeted
from adapters.models.providers import Models, open_models
from adapters.postgres import budgets
from adapters.postgres.engine import transaction
from adapters.settings import Settings
from domain.budget import MINUTE
from domain.errors import ProviderNotConfigured, ProviderRateLimited
from domain.ports import AnswerRequest, CompletionRequest, Finished
from tests.adapters.test_model_contract import PASSAGE
from tests.anthropic_double import AnthropicDouble, running_anthropic
from tests.gemini_double import GeminiDouble, rate_limited, running_double
from tests.openai_double import OpenAIDouble, running_openai

REQUEST = AnswerRequest(question="When does the library open?", passages=[PASSAGE])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class All:
    settings: Settings
    models: Models
    gemini: GeminiDouble
    openai: OpenAIDouble
    anthropic: AnthropicDouble

    async def ask(self, model: str | None, models: Models | None = None) -> str:
        request = AnswerRequest(question=REQUEST.question, passages=REQUEST.passages, model=model)
        events = [event async for event in (models or self.models).generator.stream(request)]
        assert isinstance(events[-1], Finished)
        return events[-1].model


@pytest_asyncio.fixture
async def every() -> AsyncIterator[All]:
    async with AsyncExitStack() as stack:
        gemini = await stack.enter_async_context(running_double())
        openai = await stack.enter_async_context(running_openai())
        anthropic = await stack.enter_async_context(running_anthropic())
        key = SecretStr("key")
        settings = Settings(
            provider="anthropic", anthropic_api_key=key, anthropic_base_url=anthropic.url, gemini_api_key=key,
            gemini_base_url=gemini.url, openai_base_url=f"{openai.url}/v1",
        )  # fmt: skip
        yield All(settings, await stack.enter_async_context(open_models(settings)), gemini, openai, anthropic)


async def test_each_request_goes_to_the_provider_that_its_model_names(every: All) -> None:
    named = [None, "claude-other", "gemini/gemini-2.5-pro", "openai/gpt-5.4", "local/extractive"]
    assert [await every.ask(model) for model in named] == [
        "anthropic/claude-haiku-5-5",
        "anthropic/claude-other",
        "gemini/gemini-2.5-pro",
        "openai/gpt-5.4",
        "local/extractive",
    ]
    assert (every.anthropic.calls, every.gemini.calls, every.openai.calls) == (
        {"generate": 2}, {"generate": 1}, {"generate": 1},
    )  # fmt: skip
    assert every.models.generator.model == "anthropic/claude-haiku-5-5"


async def test_a_short_text_is_written_by_the_model_that_is_named(every: All) -> None:
    completion = await every.models.generator.complete(CompletionRequest("s", "c", model="openai/gpt-5.4"))
    assert completion.model == "openai/gpt-5.4"
    assert every.anthropic.calls == {}


async def test_what_embeds_is_chosen_by_itself_where_the_provider_does_not(every: All) -> None:
    assert every.models.embedder.model == "local/all-MiniLM-L6-v2"
    chosen = every.settings.model_copy(update={"embedding_provider": "openai"})
    async with open_models(chosen) as models:
        assert models.embedder.model == "openai/text-embedding-3-small"
        await models.embedder.embed_query("q")
    assert every.openai.texts_embedded == {"q": 1}


async def test_scans_go_to_gemini_only_where_that_was_chosen(every: All) -> None:
    """A key for answers is no leave to send documents there."""
    assert every.models.recognizer is None or not every.models.recognizer.is_provider
    async with open_models(every.settings.model_copy(update={"ocr": "provider"})) as models:
        assert models.recognizer is not None
        assert models.recognizer.is_provider


async def test_a_provider_that_is_not_set_up_is_told() -> None:
    async with open_models(Settings(_env_file=None)) as models:
        with pytest.raises(ProviderNotConfigured, match="CHATSPHERE_OPENAI_API_KEY"):
            models.generator.stream(AnswerRequest(question="q", passages=[], model="openai/gpt-5.4"))
        with pytest.raises(ProviderNotConfigured, match="no model provider 'mistral'"):
            await models.generator.complete(CompletionRequest("s", "c", model="mistral/large"))


@pytest.mark.parametrize(
    ("chosen", "setting"),
    [
        ({"provider": "openai"}, "CHATSPHERE_PROVIDER=openai needs CHATSPHERE_OPENAI_API_KEY"),
        ({"provider": "anthropic"}, "CHATSPHERE_PROVIDER=anthropic needs CHATSPHERE_ANTHROPIC_API_KEY"),
        ({"embedding_provider": "gemini"}, "CHATSPHERE_EMBEDDING_PROVIDER=gemini needs CHATSPHERE_GEMINI_API_KEY"),
    ],
)
def test_a_provider_that_is_chosen_needs_its_key(chosen: dict[str, str], setting: str) -> None:
    with pytest.raises(ValidationError, match=setting):
        Settings.model_validate(chosen)


async def test_a_pause_of_one_model_holds_up_no_other(every: All, engine: AsyncEngine) -> None:
    models = budgeted(every.models, engine, every.settings, lambda: NOW)
    every.anthropic.script("generate", rate_limited("300s"))
    for _ in range(2):  # the second one is not even sent
        with pytest.raises(ProviderRateLimited):
            await every.ask(None, models)
    for model in ("anthropic/claude-other", "gemini/gemini-2.5-pro", "openai/gpt-5.4", "local/extractive"):
        assert await every.ask(model, models) == model
    assert every.anthropic.calls == {"generate": 2}
    async with transaction(engine) as connection:
        found = await budgets.recent(connection, now=NOW, within=MINUTE, limit=10)
    assert {(key.provider, key.model): budget.paused_until for key, budget in found} == {
        ("anthropic", "claude-haiku-5-5"): NOW + timedelta(seconds=300),
        ("anthropic", "claude-other"): None,
        ("gemini", "gemini-2.5-pro"): None,
        ("openai", "gpt-5.4"): None,
    }


async def test_what_a_model_can_do_is_its_own_providers_affair(every: All) -> None:
    tell = every.models.generator.completes_with
    named = [None, "claude-other", "openai/gpt-5.4", "local/extractive"]
    assert [tell(model) for model in named] == [True, True, True, False]
    async with open_models(Settings(_env_file=None, openai_base_url=f"{every.openai.url}/v1")) as models:
        quoting = models.generator
        assert [quoting.completes_with(model) for model in (None, "a", "openai/gpt-5.4")] == [False, False, True]
        # What is not set up says so itself, when it is called.
        assert quoting.completes_with("anthropic/claude-haiku-5-5")
