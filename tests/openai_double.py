"""A stand-in for OpenAI and for any server that speaks its API: `gemini_double.py`, its faults and its control, in OpenAI's words.

In a test: `async with running_openai() as double:`. As a process of its own: `python -m tests.openai_double --port 9000`.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import override

from tests.gemini_double import Fault, GeminiDouble, main, reply, reply_raw, send, serving

_CODES = {
    "QUOTA_PER_DAY": "insufficient_quota",
    "API_KEY_INVALID": "invalid_api_key",
    "NOT_FOUND": "model_not_found",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    "SAFETY": "content_filter",
}
_FINISH = {"SAFETY": "content_filter", "MAX_TOKENS": "length"}


@dataclass(slots=True)
class OpenAIDouble(GeminiDouble):
    """Every call of a stream with tools has the same index where `one_index` is set, as some servers do it."""

    one_index: bool = False
    refused_param: str | None = None
    """What an error says that it is about."""
    broken_calls: bool = False
    """Cut the arguments of calls off."""
    as_base64: bool = True
    """Answer vectors as base64 where that is asked for; some servers never do."""

    @override
    def _route(self, path: str, body: dict[str, Any]) -> tuple[str, str] | None:
        match path:
            case "/v1/embeddings":
                return "embed", body["model"]
            case "/v1/chat/completions":
                return "generate" if body.get("stream") else "complete", body["model"]
            case _:
                return None

    @override
    async def _refuse(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        status = {"API_KEY_INVALID": 401, "QUOTA_PER_DAY": 429}.get(fault.reason, fault.status)
        head = {} if fault.retry_delay is None else {"retry-after": fault.retry_delay.removesuffix("s")}
        await reply(writer, status, {"error": _error(fault) | {"param": self.refused_param}}, head)

    @override
    async def _break(self, endpoint: str, writer: asyncio.StreamWriter) -> None:
        if endpoint == "generate":
            await reply_raw(writer, b'data: {"choices": [\n\n')
        else:
            await reply_raw(writer, b'{"data": [', content_type="application/json")

    @override
    def _texts(self, body: dict[str, Any]) -> list[str]:
        texts: list[str] = body["input"]
        return texts

    @override
    def _width(self, body: dict[str, Any]) -> int:
        width: int = body.get("dimensions", 1536)
        return width

    @override
    def _embedded(self, vectors: list[list[float]], tokens: int, _body: dict[str, Any]) -> dict[str, Any]:
        packed = self.as_base64 and _body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data[::-1], "model": _body["model"], "usage": usage}  # in no order of theirs

    @override
    def _prompt(self, body: dict[str, Any]) -> str:
        messages = body["messages"]
        given = [message["content"] for message in messages if message["role"] == "tool"]
        return "\n".join(given) if messages[-1]["role"] == "tool" else str(messages[-1]["content"])

    @override
    def _short(self, text: str, model: str, read: int, written: int, finish: str | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        reason = _FINISH.get(finish or "", finish or "stop")
        return {
            "id": "chatcmpl-double", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }  # fmt: skip

    @override
    async def _block(self, writer: asyncio.StreamWriter, model: str, fault: Fault, *, streamed: bool) -> None:
        await self._refuse(writer, Fault("error", status=400, reason="SAFETY"))

    @override
    async def _open(self, writer: asyncio.StreamWriter, model: str, tokens: int) -> None:
        await _chunk(writer, model, {"role": "assistant", "content": "", "refusal": None})

    @override
    async def _say(
        self, writer: asyncio.StreamWriter, model: str, piece: str, *, tokens: tuple[int, int], last: bool
    ) -> None:
        await _chunk(writer, model, {"content": piece})
        if last:
            await _chunk(writer, model, {}, "stop")
            await _usage(writer, model, *tokens)

    @override
    async def _finish(self, writer: asyncio.StreamWriter, model: str, reason: str) -> None:
        await _chunk(writer, model, {}, _FINISH.get(reason, reason))
        await _usage(writer, model, 1, 1)

    @override
    async def _fail(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        await send(writer, f"data: {json.dumps({'error': _error(fault)})}\n\n")

    @override
    async def _ask_for_tools(
        self, writer: asyncio.StreamWriter, model: str, calls: list[tuple[str, dict[str, Any]]]
    ) -> None:
        """Ask in parallel, each call's arguments cut in two."""
        for number, (name, arguments) in enumerate(calls):
            index, text = 0 if self.one_index else number, json.dumps(arguments)[: -1 if self.broken_calls else None]
            begun = {"name": name, "arguments": text[:5]}
            first = {"index": index, "id": f"call_{number}", "type": "function", "function": begun}
            await _chunk(writer, model, {"tool_calls": [first]})
            await _chunk(writer, model, {"tool_calls": [{"index": index, "function": {"arguments": text[5:]}}]})
        await _chunk(writer, model, {}, "tool_calls")
        await _usage(writer, model, 21, 8)


def _error(fault: Fault) -> dict[str, Any]:
    return {"message": "SECRET provider text", "type": "error", "param": None, "code": _CODES.get(fault.reason)}


def _base64(vector: list[float]) -> str:
    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()


async def _chunk(writer: asyncio.StreamWriter, model: str, delta: dict[str, Any], finish: str | None = None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    await _event(writer, model, {"choices": [choice], "usage": None})


async def _usage(writer: asyncio.StreamWriter, model: str, read: int, written: int) -> None:
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    await _event(writer, model, {"choices": [], "usage": usage})
    await send(writer, "data: [DONE]\n\n")


async def _event(writer: asyncio.StreamWriter, model: str, body: dict[str, Any]) -> None:
    head = {"id": "chatcmpl-double", "object": "chat.completion.chunk", "created": 1, "model": model}
    await send(writer, f"data: {json.dumps(head | body)}\n\n")


@asynccontextmanager
async def running_openai(port: int = 0) -> AsyncIterator[OpenAIDouble]:
    """Serve on a free loopback port, or on `port`, until the block is left. Its API is at `url`/v1."""
    async with serving(OpenAIDouble(), port) as double:
        yield double


if __name__ == "__main__":
    main(OpenAIDouble())
