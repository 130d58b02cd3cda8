"""What only OpenAI and the servers that speak its API do. The official client is always in the path."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from adapters.models.openai_client import open_openai
from adapters.models.openai_embedding import OpenAIEmbedder
from adapters.models.openai_generation import OpenAIGenerator
from adapters.settings import Settings
from domain.errors import (
    ProviderInputRefused,
    ProviderMalformed,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejected,
)
from domain.ports import CompletionRequest, ModelStep, ToolCall, ToolResult
from tests import gemini_double as g
from tests.adapters.test_provider_contract import LOOK_UP, REQUEST, SHORT
from tests.openai_double import OpenAIDouble, running_openai

Opened = tuple[OpenAIEmbedder, OpenAIGenerator]


@asynccontextmanager
async def opened(double: OpenAIDouble, **changes: Any) -> AsyncIterator[Opened]:
    values = {"provider": "openai", "openai_api_key": "key", "openai_base_url": f"{double.url}/v1"}
    async with open_openai(Settings.model_validate(values | changes)) as models:
        yield models


@pytest_asyncio.fixture
async def double() -> AsyncIterator[OpenAIDouble]:
    async with running_openai() as double:
        yield double


@pytest_asyncio.fixture
async def models(double: OpenAIDouble) -> AsyncIterator[Opened]:
    async with opened(double) as models:
        yield models


@pytest.mark.parametrize("as_base64", [True, False])
async def test_vectors_are_asked_for_at_the_deployments_width_and_put_in_order(
    double: OpenAIDouble, models: Opened, as_base64: bool
) -> None:
    double.as_base64 = as_base64
    texts = ["one text", "and another", "and a third"]
    embeddings = await models[0].embed_documents(texts)
    assert double.requests[0].body["input"] == texts
    assert double.requests[0].body["dimensions"] == 768
    assert embeddings.tokens > 0
    expected = np.array([g.embedding(text, 768) for text in texts])
    assert np.allclose(embeddings.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


async def test_a_server_that_knows_no_dimensions_is_not_asked_for_them(double: OpenAIDouble) -> None:
    async with opened(double, openai_embedding_dimensions=False, embedding_width=1536) as (embedder, _):
        assert (await embedder.embed_query("q")).shape == (1536,)
    assert "dimensions" not in double.requests[0].body
    async with opened(double, openai_embedding_dimensions=False) as (embedder, _):
        with pytest.raises(ProviderMalformed, match="CHATSPHERE_EMBEDDING_WIDTH"):
            await embedder.embed_query("q")


async def test_a_server_of_ones_own_needs_no_key(double: OpenAIDouble) -> None:
    async with opened(double, openai_api_key=None) as (_, generator):
        assert (await generator.complete(SHORT)).text == "the last line"


async def test_the_limit_of_tokens_has_the_name_that_the_server_knows(double: OpenAIDouble, models: Opened) -> None:
    short = CompletionRequest(system="s", content="c", max_tokens=64, temperature=0.5)
    await models[1].complete(replace(short, model="llama3.3"))
    await models[1].complete(replace(short, model="openai/gpt-5.4-mini"))
    own, thinking = (call.body for call in double.requests)
    assert (own["max_tokens"], own["temperature"]) == (64, 0.5)
    assert "max_completion_tokens" not in own
    assert (thinking["max_completion_tokens"], "temperature" in thinking) == (64 + 2048, False)
    assert "max_tokens" not in thinking


async def test_a_model_whose_name_begins_like_a_provider_is_left_whole(double: OpenAIDouble) -> None:
    async with opened(double, openai_generation_model="openai/gpt-oss-20b") as (_, generator):
        assert generator.model == "openai/openai/gpt-oss-20b"
        await generator.complete(SHORT)
        await generator.complete(replace(SHORT, model=generator.model))
    assert [call.model for call in double.requests] == ["openai/gpt-oss-20b"] * 2


async def test_steps_go_out_as_tool_calls_and_their_results(double: OpenAIDouble, models: Opened) -> None:
    double.tool_steps.append([("look_up", {"word": "neun Uhr — 九"})])
    request = replace(REQUEST, tools=[LOOK_UP])
    [call] = [event async for event in models[1].stream(request) if isinstance(event, ToolCall)]
    step = ModelStep("Let me see.", [call], [ToolResult(call.id, "No such word.", failed=True)])
    _ = [event async for event in models[1].stream(replace(request, steps=[step], boundary="B"))]
    body = double.requests[1].body
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "look_up",
                "description": "Look a word up.",
                "parameters": LOOK_UP.parameters,
            },
        }
    ]
    assert body["messages"][-2:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"word": "neun Uhr — 九"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "Error: B result\nNo such word.\nB end of the result"},
    ]


async def test_ids_of_another_provider_are_sent_no_longer_than_openai_takes(
    double: OpenAIDouble, models: Opened
) -> None:
    ids = ["functions.look_up:0", "c" * 40, "c" * 41, "c" * 42]
    calls, results = [ToolCall(id_, "look_up", {}) for id_ in ids], [ToolResult(id_, "9") for id_ in ids]
    for _ in range(2):
        await anext(models[1].stream(replace(REQUEST, tools=[LOOK_UP], steps=[ModelStep("", calls, results)])))
    (asked, *given), (again, *_) = (request.body["messages"][-5:] for request in double.requests)
    sent = [call["id"] for call in asked["tool_calls"]]
    assert [message["tool_call_id"] for message in given] == sent
    assert [call["id"] for call in again["tool_calls"]] == sent
    assert all(len(id_) <= 40 for id_ in sent)
    assert (sent[:2], len(set(sent))) == (ids[:2], 4)


async def test_calls_of_a_server_that_gives_all_the_same_index_are_told_apart(
    double: OpenAIDouble, models: Opened
) -> None:
    double.one_index = True
    double.tool_steps.append([("look_up", {"word": "nine"}), ("look_up", {"word": "six"})])
    calls = [event async for event in models[1].stream(replace(REQUEST, tools=[LOOK_UP]))][:-1]
    assert [call.arguments for call in calls if isinstance(call, ToolCall)] == [{"word": "nine"}, {"word": "six"}]


async def test_a_call_in_broken_json_may_be_tried_again(double: OpenAIDouble, models: Opened) -> None:
    double.broken_calls = True
    double.tool_steps.append([("look_up", {"word": "nine"})])
    with pytest.raises(ProviderMalformed, match="broken JSON"):
        _ = [event async for event in models[1].stream(replace(REQUEST, tools=[LOOK_UP]))]


@pytest.mark.parametrize(
    ("reason", "kind"), [("RESOURCE_EXHAUSTED", ProviderRateLimited), ("QUOTA_PER_DAY", ProviderQuotaExhausted)]
)
async def test_a_limit_that_comes_in_mid_stream_is_one(
    double: OpenAIDouble, models: Opened, reason: str, kind: type[ProviderRateLimited]
) -> None:
    double.script("generate", replace(g.error_midway(429), reason=reason))
    with pytest.raises(ProviderRateLimited) as caught:
        _ = [event async for event in models[1].stream(REQUEST)]
    assert type(caught.value) is kind


@pytest.mark.parametrize(("param", "of_a_text"), [("dimensions", False), ("input", True)])
async def test_a_setting_that_is_refused_is_no_fault_of_a_text(
    double: OpenAIDouble, models: Opened, param: str, of_a_text: bool
) -> None:
    """Else every text of the batch would be tried on its own, to find the one that is refused."""
    double.refused_param = param
    double.script("embed", g.error(400, "INVALID_ARGUMENT"))
    with pytest.raises(ProviderRejected) as caught:
        await models[0].embed_documents(["a", "b"])
    assert isinstance(caught.value, ProviderInputRefused) == of_a_text
