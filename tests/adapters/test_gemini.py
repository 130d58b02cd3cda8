"""Gemini's calls go over HTTP, by google-genai but for streams; only the provider behind them is a double."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import numpy as np
import pytest
import pytest_asyncio
from google import genai
from google.genai import types
from pydantic import SecretStr
from pydantic.alias_generators import to_camel

from adapters.models.gemini import GeminiEmbedder, open_gemini
from adapters.models.gemini_errors import until_reset
from adapters.models.gemini_frames import Part
from adapters.models.gemini_generation import GeminiGenerator
from adapters.models.gemini_turns import calls_in
from adapters.settings import Settings
from domain.citations import verify
from domain.conversation import ChatMessage, Role
from domain.errors import (
    ProviderAuth,
    ProviderError,
    ProviderMalformed,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejected,
    SafetyBlocked,
)
from domain.fallback import gives_way
from domain.ids import ChunkId, DocumentId, MessageId
from domain.ports import (
    AnswerRequest,
    CompletionRequest,
    Finished,
    ModelStep,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from domain.prompts import RenderedPrompt, render
from domain.retrieval import Passage
from tests import gemini_double as g


def settings_for(url: str, **changes: object) -> Settings:
    values: dict[str, object] = {
        "provider": "gemini",
        "gemini_api_key": SecretStr("test-key"),
        "gemini_base_url": url,
        "model_timeout": timedelta(seconds=5),
    }
    return Settings.model_validate(values | changes)


@pytest_asyncio.fixture
async def double() -> AsyncIterator[g.GeminiDouble]:
    async with g.running_double() as double:
        yield double


@pytest_asyncio.fixture
async def models(double: g.GeminiDouble) -> AsyncIterator[tuple[GeminiEmbedder, GeminiGenerator]]:
    async with open_gemini(settings_for(double.url)) as models:
        yield models


@pytest_asyncio.fixture
async def embedder(models: tuple[GeminiEmbedder, GeminiGenerator]) -> GeminiEmbedder:
    return models[0]


@pytest_asyncio.fixture
async def generator(models: tuple[GeminiEmbedder, GeminiGenerator]) -> GeminiGenerator:
    return models[1]


@asynccontextmanager
async def impatient(double: g.GeminiDouble) -> AsyncIterator[tuple[GeminiEmbedder, GeminiGenerator]]:
    async with open_gemini(settings_for(double.url, model_timeout=timedelta(milliseconds=100))) as models:
        yield models


PASSAGE = Passage(
    marker=1,
    chunk_id=ChunkId(UUID(int=1)),
    document_id=DocumentId(UUID(int=2)),
    document_name="handbook.pdf",
    page=3,
    heading_path=(),
    content="The library opens at nine. It closes at six.",
    score=0.5,
)
REQUEST = AnswerRequest(
    question="When does it open?",
    passages=[PASSAGE],
    history=[
        ChatMessage(MessageId(UUID(int=3)), Role.USER, "Hello"),
        ChatMessage(MessageId(UUID(int=4)), Role.ASSISTANT, "Hi"),
    ],
    instructions="Be kind.",
    temperature=0.7,
    max_tokens=99,
)


async def read(generator: GeminiGenerator, request: AnswerRequest = REQUEST) -> tuple[str, list[Finished]]:
    events = [event async for event in generator.stream(request)]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if isinstance(event, Finished)]


# What is sent


async def test_documents_go_out_in_one_batch_with_task_and_width(
    double: g.GeminiDouble, embedder: GeminiEmbedder
) -> None:
    result = await embedder.embed_documents([f"text number {n}" for n in range(100)])
    assert result.vectors.shape == (100, 768)
    assert result.tokens > 0
    assert double.calls["embed"] == 1
    [call] = double.requests
    assert call.model == "gemini-embedding-001"
    assert call.headers["x-goog-api-key"] == "test-key"
    assert call.body["requests"][99] == {
        "content": {"parts": [{"text": "text number 99"}], "role": "user"},
        "taskType": "RETRIEVAL_DOCUMENT",
        "outputDimensionality": 768,
        "model": "models/gemini-embedding-001",
    }


async def test_a_question_is_embedded_as_a_query(double: g.GeminiDouble, embedder: GeminiEmbedder) -> None:
    vector = await embedder.embed_query("When?")
    assert vector.shape == (768,)
    assert double.requests[0].body["requests"][0]["taskType"] == "RETRIEVAL_QUERY"


async def test_vectors_are_normalised_here_since_gemini_does_it_at_full_width_only(embedder: GeminiEmbedder) -> None:
    assert not np.isclose(np.linalg.norm(g.embedding("some words", 768)), 1)
    vectors = (await embedder.embed_documents(["some words", "others"])).vectors
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


async def test_embedding_2_gets_one_content_a_text(double: g.GeminiDouble) -> None:
    async with open_gemini(settings_for(double.url, gemini_embedding_model="gemini-embedding-2")) as (embedder, _):
        assert (await embedder.embed_documents(["a", "b", "c"])).vectors.shape == (3, 768)
    assert [len(r["content"]["parts"]) for r in double.requests[0].body["requests"]] == [1, 1, 1]


async def test_an_answer_streams_with_system_instruction_history_and_limits(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    text, finished = await read(generator)
    assert text == 'The documents say: "The library opens at nine." [1].'
    assert [citation.quote for citation in verify(text, [PASSAGE])] == ["The library opens at nine"]
    assert finished == [Finished("gemini/gemini-2.5-flash", finished[0].input_tokens, 9)]
    assert finished[0].input_tokens > 0
    body = double.requests[0].body
    assert body["systemInstruction"]["parts"][0]["text"].endswith("Be kind.")
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["generationConfig"]["temperature"] == 0.7
    assert body["generationConfig"]["maxOutputTokens"] == 99


async def test_a_stream_is_asked_for_as_google_genai_asks(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    calls = [ToolCall("a", "look_up", {"word": "nine"}, "dGhvdWdodHP/"), ToolCall("b", "look_up", {"word": "six"})]
    step = ModelStep("Let me see.", calls, [ToolResult("a", "9"), ToolResult("b", "None.", failed=True)])
    await read(generator, replace(REQUEST, tools=[LOOK_UP], steps=[step], boundary="fence"))
    prompt = render(replace(REQUEST, tools=[LOOK_UP], steps=[step]), boundary="fence")
    client = genai.Client(api_key="test-key", vertexai=False, http_options=types.HttpOptions(base_url=double.url))
    stream = await client.aio.models.generate_content_stream(
        model="gemini-2.5-flash", contents=contents_of(prompt), config=config_of(prompt)
    )
    assert [response.text async for response in stream]
    await client.aio.aclose()
    ours, theirs = double.requests
    assert ours.body == in_camel_case(theirs.body)
    assert ours.path == theirs.path
    named = ("x-goog-api-key", "content-type")
    assert [ours.headers[name] for name in named] == [theirs.headers[name] for name in named]


def contents_of(prompt: RenderedPrompt) -> list[types.ContentUnion]:
    """The turns and the step, in google-genai's types."""
    roles = {Role.USER: "user", Role.ASSISTANT: "model"}
    turns = [types.Content(role=roles[role], parts=[types.Part(text=text)]) for role, text in prompt.turns]
    [step] = prompt.steps
    asked = [
        types.Part(
            function_call=types.FunctionCall(id=call.id, name=call.name, args=dict(call.arguments)),
            thought_signature=base64.b64decode(call.signature) if call.signature else None,
        )
        for call in step.calls
    ]
    given = [
        types.Part(
            function_response=types.FunctionResponse(
                id=result.call_id,
                name="look_up",
                response={"error" if result.failed else "result": result.content},
            )
        )
        for result in step.results
    ]
    return [
        *turns,
        types.Content(role="model", parts=[types.Part(text=step.text), *asked]),
        types.Content(role="user", parts=given),
    ]


def config_of(prompt: RenderedPrompt) -> types.GenerateContentConfig:
    declared = types.FunctionDeclaration(
        name=LOOK_UP.name, description=LOOK_UP.description, parameters_json_schema=LOOK_UP.parameters
    )
    return types.GenerateContentConfig(
        system_instruction=prompt.system,
        temperature=REQUEST.temperature,
        max_output_tokens=REQUEST.max_tokens,
        thinking_config=types.ThinkingConfig(thinking_budget=0),
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def in_camel_case(body: Any) -> Any:
    """google-genai leaves some names as Python has them; Gemini reads both. Base64 is read in either alphabet, too."""
    if isinstance(body, list):
        return [in_camel_case(each) for each in body]
    if isinstance(body, dict):
        named = {to_camel(name) if "_" in name else name: in_camel_case(value) for name, value in body.items()}
        if "thoughtSignature" in named:
            named["thoughtSignature"] = named["thoughtSignature"].translate(str.maketrans("-_", "+/"))
        return named
    return body


async def test_each_request_gets_a_fence_of_its_own(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    await read(generator)
    await read(generator)
    fences = [call.body["contents"][-1]["parts"][0]["text"].split()[0] for call in double.requests]
    assert len(set(fences)) == 2
    assert all(len(fence) == 16 for fence in fences)


async def test_a_bot_may_choose_another_model(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    request = AnswerRequest(question="q", passages=[], model="gemini/gemini-2.5-pro")
    _, [finished] = await read(generator, request)
    assert (double.requests[0].model, finished.model) == ("gemini-2.5-pro", "gemini/gemini-2.5-pro")


async def test_a_model_name_that_is_none_never_reaches_the_network(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    with pytest.raises(ProviderRejected):
        await read(generator, AnswerRequest(question="q", passages=[], model="../../files?x="))
    assert double.calls.total() == 0


# Failures of both endpoints

# What only Gemini says; the contract of all providers asks for the rest.
FAILURES = [
    (g.rate_limited("0.250s"), ProviderRateLimited, timedelta(milliseconds=250)),
    (g.error(504, "DEADLINE_EXCEEDED"), ProviderError, None),
    (g.error(400, "FAILED_PRECONDITION"), ProviderAuth, None),
]


async def call(models: tuple[GeminiEmbedder, GeminiGenerator], endpoint: g.Endpoint) -> None:
    match endpoint:
        case "embed":
            await models[0].embed_query("a private question")
        case "complete":
            await models[1].complete(CompletionRequest(system="", content="a private question"))
        case _:
            await read(models[1])


@pytest.mark.parametrize("endpoint", ["embed", "generate", "complete"])
@pytest.mark.parametrize(("fault", "kind", "pause"), FAILURES)
async def test_a_failure_in_its_own_words_has_its_kind(
    double: g.GeminiDouble,
    models: tuple[GeminiEmbedder, GeminiGenerator],
    endpoint: g.Endpoint,
    fault: g.Fault,
    kind: type[ProviderError],
    pause: timedelta | None,
) -> None:
    double.script(endpoint, fault)
    with pytest.raises(ProviderError) as caught:
        await call(models, endpoint)
    assert type(caught.value) is kind
    assert caught.value.retry_after == pause


@pytest.mark.parametrize("endpoint", ["embed", "generate"])
async def test_a_refused_key_and_a_missing_model_name_the_setting(
    double: g.GeminiDouble, models: tuple[GeminiEmbedder, GeminiGenerator], endpoint: g.Endpoint
) -> None:
    double.script(endpoint, g.error(403, "PERMISSION_DENIED"), g.error(404, "NOT_FOUND"))
    with pytest.raises(ProviderAuth, match="CHATSPHERE_GEMINI_API_KEY"):
        await (models[0].embed_query("q") if endpoint == "embed" else read(models[1]))
    setting = "CHATSPHERE_GEMINI_EMBEDDING_MODEL" if endpoint == "embed" else "CHATSPHERE_GEMINI_GENERATION_MODEL"
    with pytest.raises(ProviderRejected, match=setting):
        await (models[0].embed_query("q") if endpoint == "embed" else read(models[1]))


async def test_a_region_that_gemini_does_not_serve_gives_way_and_says_what_to_do(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    double.script("generate", g.error(400, "FAILED_PRECONDITION"))
    with pytest.raises(ProviderAuth, match=r"Enable billing .* region") as caught:
        await read(generator)
    assert gives_way(caught.value, attempt=1)


async def test_a_provider_that_is_not_there_is_a_failure_that_may_pass() -> None:
    async with g.running_double() as double:
        url = double.url
    async with open_gemini(settings_for(url)) as (embedder, _):
        with pytest.raises(ProviderError) as caught:
            await embedder.embed_query("q")
    assert caught.value.retryable


async def test_a_provider_that_is_silent_is_given_up(double: g.GeminiDouble) -> None:
    double.script("embed", g.stalled())
    double.script("generate", g.stalled())
    async with impatient(double) as (embedder, generator):
        with pytest.raises(ProviderError, match="in time"):
            await embedder.embed_query("q")
        with pytest.raises(ProviderError, match="in time"):
            await read(generator)


@pytest.mark.parametrize("endpoint", ["embed", "generate"])
async def test_a_quota_of_the_day_is_told_apart_and_waits_for_its_reset(
    double: g.GeminiDouble, models: tuple[GeminiEmbedder, GeminiGenerator], endpoint: g.Endpoint
) -> None:
    double.script(endpoint, g.quota_of_the_day())
    with pytest.raises(ProviderQuotaExhausted, match="midnight") as caught:
        await (models[0].embed_query("q") if endpoint == "embed" else read(models[1]))
    assert caught.value.retry_after is not None
    assert timedelta(0) < caught.value.retry_after <= timedelta(days=1)


@pytest.mark.parametrize(
    ("moment", "hours"), [("07:10", 1), ("08:10", 24), ("08:11", 24 - 1 / 60), ("23:10", 9), ("00:10", 8)]
)
def test_quotas_reset_once_a_day(moment: str, hours: float) -> None:
    wait = until_reset(datetime.fromisoformat(f"2026-07-01T{moment}:00+00:00"))
    assert wait == timedelta(hours=hours)


# Failures of embeddings


@pytest.mark.parametrize("fault", [g.wrong_width(), g.wrong_count(), g.zero_vector()])
async def test_vectors_that_cannot_be_used_are_refused(
    double: g.GeminiDouble, embedder: GeminiEmbedder, fault: g.Fault
) -> None:
    double.script("embed", fault)
    with pytest.raises(ProviderMalformed):
        await embedder.embed_documents(["a", "b"])


# Failures of answers


@pytest.mark.parametrize(
    "fault",
    [g.prompt_blocked(), g.prompt_blocked("PROHIBITED_CONTENT"), g.finished_for("SAFETY"), g.finished_for("SPII")],
)
async def test_a_safety_block_is_a_failure_of_its_own_and_is_final(
    double: g.GeminiDouble, generator: GeminiGenerator, fault: g.Fault
) -> None:
    double.script("generate", fault)
    with pytest.raises(SafetyBlocked) as caught:
        await read(generator)
    assert not caught.value.retryable
    assert fault.reason in caught.value.message


@pytest.mark.parametrize("fault", [g.cut_short(2), g.finished_for("OTHER"), g.error_midway(503)])
async def test_an_answer_that_breaks_off_may_be_tried_again(
    double: g.GeminiDouble, generator: GeminiGenerator, fault: g.Fault
) -> None:
    double.script("generate", fault)
    with pytest.raises(ProviderError) as caught:
        await read(generator)
    assert type(caught.value) is ProviderError


@pytest.mark.parametrize("after", [0, 3])
async def test_an_error_that_comes_as_no_event_keeps_its_kind_and_its_pause(
    double: g.GeminiDouble, generator: GeminiGenerator, after: int
) -> None:
    double.script("generate", g.bare_error(429, "21s", after=after), g.bare_error(403, after=after))
    with pytest.raises(ProviderRateLimited) as caught:
        await read(generator)
    assert caught.value.retry_after == timedelta(seconds=21)
    with pytest.raises(ProviderAuth):
        await read(generator)


async def test_a_last_frame_without_its_blank_line_ends_an_answer_all_the_same(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    double.script("generate", g.unended(after=3))
    assert await read(generator) == ("The documents say: end", [Finished("gemini/gemini-2.5-flash", 1, 9)])


async def replying(payload: bytes, content_type: str = "text/event-stream") -> tuple[str, list[Finished]]:
    """Read a whole response of a server that gives these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await g.reply_raw(writer, payload, content_type)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, open_gemini(settings_for(f"http://127.0.0.1:{port}")) as (_, generator):
        return await read(generator)


def a_frame(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": finish}
    return b"data: " + json.dumps({"candidates": [candidate], **more}, ensure_ascii=False).encode() + b"\n\n"


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream; charset=utf-8"])
async def test_a_stream_is_read_whatever_a_proxy_calls_it_and_puts_between(content_type: str) -> None:
    split = "one\u2028two\x85 "
    image = {"inlineData": {"mimeType": "image/png", "data": "A" * 2_000_000}}
    payload = b"".join(
        [
            b": ping\n\n",
            b"event: message\nid: 7\n" + a_frame({"text": split}, error=None),
            a_frame({"text": "thought", "thought": True}, {"text": "three", "thoughtSignature": "YWI"}),
            a_frame(image, usageMetadata=None),
            b'data: {"candidates": null}\r\n\r\n',
            a_frame(finish="STOP"),
        ]
    )
    text, [end] = await replying(payload, content_type)
    assert (text, end.cut_off) == (split + "three", False)


@pytest.mark.parametrize(
    "payload",
    [b'{"hello": "I am a proxy."}', b"<html>\n\n</html>", b"data: [1]\n\n", b'data: {"candidates": 7}\n\n'],
)
async def test_an_answer_that_is_no_stream_of_geminis_may_be_tried_again(payload: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        await replying(payload)
    assert caught.value.retryable


async def test_an_error_that_is_a_sentence_may_be_tried_again() -> None:
    with pytest.raises(ProviderError, match="no status"):
        await replying(b'data: {"error": "overloaded"}\n\n')


@pytest.mark.parametrize(("given", "kept"), [("YWI", "YWI="), ("-_8", "+/8="), ("+/8=", "+/8="), ("", None)])
async def test_a_signature_is_kept_in_one_alphabet(given: str, kept: str | None) -> None:
    part = Part.model_validate({"functionCall": {"name": "look_up"}, "thoughtSignature": given})
    [call] = calls_in([part], model="m")
    assert call.signature == kept


def test_a_signature_that_is_none_is_malformed() -> None:
    part = Part.model_validate({"functionCall": {"name": "look_up"}, "thoughtSignature": "?"})
    with pytest.raises(ProviderMalformed):
        list(calls_in([part], model="m"))


async def test_the_token_limit_ends_an_answer_in_order(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    double.script("generate", g.finished_for("MAX_TOKENS", after=3), g.finished_for("MAX_TOKENS", after=0))
    text, finished = await read(generator)
    assert text == "The documents say: "
    assert [end.cut_off for end in finished] == [True]
    with pytest.raises(ProviderRejected, match="limit"):
        await read(generator)


async def test_an_empty_answer_is_none(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    double.answer = ""
    with pytest.raises(ProviderMalformed):
        await read(generator)


# Leaving early


async def test_a_reader_that_leaves_closes_the_connection(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    double.script("generate", g.stalled(after=2))
    async with aclosing(generator.stream(REQUEST)) as events:
        assert isinstance(await anext(events), TextDelta)
    assert (await read(generator))[1]


async def test_a_cancelled_reader_stops_at_once(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    double.script("generate", g.stalled())
    task = asyncio.create_task(read(generator))
    await double.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await read(generator))[1]


# Tools


LOOK_UP = ToolSpec(
    name="look_up",
    description="Look a word up.",
    parameters={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)


async def test_tools_are_declared_and_their_calls_given_out(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    double.tool_steps.append([("look_up", {"word": "nine"}), ("look_up", {"word": "six"})])
    events = [event async for event in generator.stream(replace(REQUEST, tools=[LOOK_UP]))]
    *calls, end = events
    assert [(call.name, call.arguments) for call in calls if isinstance(call, ToolCall)] == [
        ("look_up", {"word": "nine"}),
        ("look_up", {"word": "six"}),
    ]
    assert len({call.id for call in calls if isinstance(call, ToolCall)}) == 2
    assert end == Finished("gemini/gemini-2.5-flash", input_tokens=21, output_tokens=8)
    [declared] = double.requests[0].body["tools"]
    assert declared["functionDeclarations"] == [
        {"name": "look_up", "description": "Look a word up.", "parametersJsonSchema": LOOK_UP.parameters}
    ]


async def test_a_later_step_is_told_what_was_asked_for_and_given(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    double.tool_steps.append([("look_up", {"word": "nine"}), ("look_up", {"word": "six"})])
    request = replace(REQUEST, tools=[LOOK_UP])
    calls = [event async for event in generator.stream(request) if isinstance(event, ToolCall)]
    results = [ToolResult(calls[0].id, "9"), ToolResult(calls[1].id, "No such word.", failed=True)]
    step = ModelStep(text="Let me see.", calls=calls, results=results)
    assert (await read(generator, replace(request, steps=[step])))[1]
    asked, given = double.requests[1].body["contents"][-2:]
    assert asked["role"] == "model"
    assert asked["parts"][0] == {"text": "Let me see."}
    assert [part["functionCall"]["args"] for part in asked["parts"][1:]] == [{"word": "nine"}, {"word": "six"}]
    assert base64.urlsafe_b64decode(asked["parts"][1]["thoughtSignature"]) == b"thoughts\xff"
    assert "thoughtSignature" not in asked["parts"][2]
    assert given["role"] == "user"
    told = [part["functionResponse"] for part in given["parts"]]
    assert [(each["id"], each["name"]) for each in told] == [(call.id, "look_up") for call in calls]
    fence = double.requests[1].body["systemInstruction"]["parts"][0]["text"].split("hold the word ")[1].split(".")[0]
    assert [each["response"] for each in told] == [
        {"result": f"{fence} result\n9\n{fence} end of the result"},
        {"error": f"{fence} result\nNo such word.\n{fence} end of the result"},
    ]


async def test_a_signature_of_another_provider_is_left_out(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    call = ToolCall("1", "look_up", {}, signature="not base64!")
    step = ModelStep(text="", calls=[call], results=[ToolResult("1", "9")])
    await read(generator, replace(REQUEST, tools=[LOOK_UP], steps=[step]))
    assert "thoughtSignature" not in double.requests[0].body["contents"][-2]["parts"][0]


# Short texts


SHORT = CompletionRequest(system="Condense.", content="one\nthe last line", max_tokens=64)


async def test_a_short_text_is_written_in_one_piece(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    assert generator.completes
    completion = await generator.complete(SHORT)
    assert (completion.text, completion.model) == ("the last line", "gemini/gemini-2.5-flash")
    assert completion.input_tokens > 0
    assert completion.output_tokens > 0
    body = double.requests[0].body
    assert body["systemInstruction"]["parts"] == [{"text": "Condense."}]
    assert body["generationConfig"] == {
        "temperature": 0.0, "maxOutputTokens": 64, "thinkingConfig": {"thinking_budget": 0},
    }  # fmt: skip


async def test_a_model_that_always_thinks_is_given_room_for_it(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    await generator.complete(replace(SHORT, model="gemini/gemini-2.5-pro"))
    assert double.requests[0].model == "gemini-2.5-pro"
    assert double.requests[0].body["generationConfig"] == {"temperature": 0.0, "maxOutputTokens": 64 + 2048}


async def test_a_short_text_that_the_limit_cuts_off_is_one_all_the_same(
    double: g.GeminiDouble, generator: GeminiGenerator
) -> None:
    double.script("complete", g.finished_for("MAX_TOKENS"))
    assert (await generator.complete(SHORT)).text == "the last line"


async def test_a_short_text_can_be_blocked(double: g.GeminiDouble, generator: GeminiGenerator) -> None:
    double.script("complete", g.prompt_blocked(), g.finished_for("SAFETY"))
    for _ in range(2):
        with pytest.raises(SafetyBlocked):
            await generator.complete(SHORT)


# The double as a process


async def test_the_double_is_scripted_and_read_over_http(double: g.GeminiDouble) -> None:
    async with httpx2.AsyncClient(base_url=double.url) as http:
        await http.post("/_script", json={"endpoint": "embed", "faults": g.faults_json(g.error(500))})
        async with open_gemini(settings_for(double.url)) as (embedder, _):
            with pytest.raises(ProviderError):
                await embedder.embed_query("q")
            await embedder.embed_query("q")
        calls = (await http.get("/_calls")).json()
    assert calls["calls"] == {"embed": 2}
    assert calls["texts_embedded"] == {"q": 1}


async def test_the_double_runs_as_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gemini_double", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with open_gemini(settings_for(url)) as (embedder, _):
            assert (await embedder.embed_query("q")).shape == (768,)
        async with httpx2.AsyncClient(base_url=url) as http:
            assert (await http.get("/_calls")).json()["texts_embedded"] == {"q": 1}
    finally:
        process.terminate()
        await process.wait()
