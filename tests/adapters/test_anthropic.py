"""What only Anthropic does. The official client is always in the path."""

import re
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from adapters.models.anthropic_generation import AnthropicGenerator, open_anthropic
from adapters.settings import Settings
from domain.errors import ProviderError, ProviderInputRefused, ProviderQuotaExhausted
from domain.fallback import gives_way
from domain.ports import ModelStep, ToolCall, ToolResult
from tests import gemini_double as g
from tests.adapters.test_provider_contract import LOOK_UP, REQUEST, SHORT
from tests.anthropic_double import AnthropicDouble, running_anthropic


@pytest_asyncio.fixture
async def double() -> AsyncIterator[AnthropicDouble]:
    async with running_anthropic() as double:
        yield double


@pytest_asyncio.fixture
async def generator(double: AnthropicDouble) -> AsyncIterator[AnthropicGenerator]:
    values = {"provider": "anthropic", "anthropic_api_key": "key", "anthropic_base_url": double.url}
    async with open_anthropic(Settings.model_validate(values)) as generator:
        yield generator


async def test_a_conversation_begins_with_its_user(double: AnthropicDouble, generator: AnthropicGenerator) -> None:
    _ = [event async for event in generator.stream(REQUEST)]
    first, second, *_ = double.requests[0].body["messages"]
    assert (first["role"], second) == ("user", {"role": "assistant", "content": "Ask me."})
    assert double.requests[0].body["system"].endswith("Be kind.")
    assert "temperature" not in double.requests[0].body


async def test_steps_go_out_as_uses_of_tools_and_their_results(
    double: AnthropicDouble, generator: AnthropicGenerator
) -> None:
    double.tool_steps.append([("look_up", {"word": "nine"})])
    request = replace(REQUEST, tools=[LOOK_UP])
    [call] = [event async for event in generator.stream(request) if isinstance(event, ToolCall)]
    step = ModelStep("Let me see.", [call], [ToolResult(call.id, "No such word.", failed=True)])
    _ = [event async for event in generator.stream(replace(request, steps=[step], boundary="B"))]
    body = double.requests[1].body
    assert body["tools"] == [{"name": "look_up", "description": "Look a word up.", "input_schema": LOOK_UP.parameters}]
    assert body["messages"][-2:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"word": "nine"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": "B result\nNo such word.\nB end of the result",
                    "is_error": True,
                }
            ],
        },
    ]


async def test_ids_of_another_provider_are_sent_in_a_form_that_anthropic_takes(
    double: AnthropicDouble, generator: AnthropicGenerator
) -> None:
    ids = ["functions.look_up:0", "c" * 64, "c" * 65, "functions.look_up:1"]
    calls, results = [ToolCall(id_, "look_up", {}) for id_ in ids], [ToolResult(id_, "9") for id_ in ids]
    for _ in range(2):
        await anext(generator.stream(replace(REQUEST, tools=[LOOK_UP], steps=[ModelStep("", calls, results)])))
    (asked, given), again = (request.body["messages"][-2:] for request in double.requests)
    sent = [block["id"] for block in asked["content"]]
    assert [block["tool_use_id"] for block in given["content"]] == sent
    assert [block["id"] for block in again[0]["content"]] == sent
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", id_) for id_ in sent)
    assert (sent[1], len(set(sent))) == (ids[1], 4)


async def test_thoughts_go_back_unread_with_the_calls_that_followed_them(
    double: AnthropicDouble, generator: AnthropicGenerator
) -> None:
    double.thinks = True
    double.tool_steps.append([("look_up", {"word": "nine"}), ("look_up", {"word": "six"})])
    request = replace(REQUEST, tools=[LOOK_UP])
    events = [event async for event in generator.stream(request)]
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [bool(call.signature) for call in calls] == [True, False]
    assert len(events) == 3, "a thought is no text of the answer"
    step = ModelStep("", calls, [ToolResult(call.id, "9") for call in calls])
    _ = [event async for event in generator.stream(replace(request, steps=[step], boundary="B"))]
    asked = double.requests[1].body["messages"][-2]["content"]
    assert asked[0] == {"type": "thinking", "thinking": "Let me think.", "signature": "sealed"}
    assert [block["type"] for block in asked] == ["thinking", "tool_use", "tool_use"]


async def test_a_spend_limit_is_a_quota_that_is_used_up(double: AnthropicDouble, generator: AnthropicGenerator) -> None:
    double.error_code = "enforced_spend_limit_reached"
    double.script("generate", g.error(400, "INVALID_ARGUMENT"))
    with pytest.raises(ProviderQuotaExhausted) as caught:
        _ = [event async for event in generator.stream(REQUEST)]
    assert caught.value.retry_after == timedelta(hours=1)


@pytest.mark.parametrize("endpoint", ["generate", "complete"])
async def test_an_empty_balance_is_a_quota_that_is_used_up_although_it_comes_as_a_bad_request(
    double: AnthropicDouble, generator: AnthropicGenerator, endpoint: g.Endpoint
) -> None:
    double.error_message = (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits."
    )
    double.script(endpoint, g.error(400, "INVALID_ARGUMENT"))
    with pytest.raises(ProviderQuotaExhausted) as caught:
        await (generator.complete(SHORT) if endpoint == "complete" else anext(generator.stream(REQUEST)))
    assert gives_way(caught.value, attempt=1)
    assert caught.value.retry_after == timedelta(hours=1)
    assert "Plans & Billing" not in "".join(traceback.format_exception(caught.value, chain=True))


async def test_an_overload_may_say_how_long_it_lasts(double: AnthropicDouble, generator: AnthropicGenerator) -> None:
    double.script("generate", replace(g.error(529), retry_delay="7s"))
    with pytest.raises(ProviderError) as caught:
        _ = [event async for event in generator.stream(REQUEST)]
    assert caught.value.retry_after == timedelta(seconds=7)


async def test_what_is_longer_than_the_models_window_is_refused_as_it_stands(
    double: AnthropicDouble, generator: AnthropicGenerator
) -> None:
    double.script("generate", g.finished_for("model_context_window_exceeded"))
    with pytest.raises(ProviderInputRefused):
        _ = [event async for event in generator.stream(REQUEST)]
