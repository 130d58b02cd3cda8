"""A stand-in for Anthropic: `gemini_double.py`, its faults and its control, in Anthropic's words.

In a test: `async with running_anthropic() as double:`. As a process of its own:
`python -m tests.anthropic_double --port 9000`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from tests.gemini_double import Fault, GeminiDouble, main, reply, reply_raw, send, serving

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip
_STOP = {"SAFETY": "refusal", "MAX_TOKENS": "max_tokens"}


@dataclass(slots=True)
class AnthropicDouble(GeminiDouble):
    """With `thinks` a thought goes before the calls, as models do it that were not told not to."""

    thinks: bool = False
    error_code: str | None = None
    """The cause that an error names in its details."""
    error_message: str = "SECRET provider text"

    @override
    def _route(self, path: str, body: dict[str, Any]) -> tuple[str, str] | None:
        if path != "/v1/messages":
            return None
        return "generate" if body.get("stream") else "complete", body["model"]

    @override
    async def _refuse(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        status = {"QUOTA_PER_DAY": 402, "API_KEY_INVALID": 401}.get(fault.reason, fault.status)
        head = {} if fault.retry_delay is None else {"retry-after": fault.retry_delay.removesuffix("s")}
        await reply(writer, status, _error(status, self.error_code, self.error_message), head)

    @override
    async def _break(self, endpoint: str, writer: asyncio.StreamWriter) -> None:
        if endpoint == "generate":
            await reply_raw(writer, b'event: content_block_delta\ndata: {"type": \n\n')
        else:
            await reply_raw(writer, b'{"content": [', content_type="application/json")

    @override
    def _prompt(self, body: dict[str, Any]) -> str:
        content = body["messages"][-1]["content"]
        return content if isinstance(content, str) else "\n".join(block["content"] for block in content)

    @override
    def _short(self, text: str, model: str, read: int, written: int, finish: str | None) -> dict[str, Any]:
        message = _message(model, read)
        message["content"] = [{"type": "text", "text": text}]
        message["stop_reason"] = _STOP.get(finish or "", finish or "end_turn")
        message["usage"]["output_tokens"] = written
        return message

    @override
    async def _block(self, writer: asyncio.StreamWriter, model: str, fault: Fault, *, streamed: bool) -> None:
        if streamed:
            start = _event("message_start", {"message": _message(model, 1)})
            await reply_raw(writer, (start + _ended("refusal", 1)).encode())
        else:
            await reply(writer, 200, self._short("", model, 1, 1, "refusal"))

    @override
    async def _open(self, writer: asyncio.StreamWriter, model: str, tokens: int) -> None:
        await send(writer, _event("message_start", {"message": _message(model, tokens)}))
        block = {"type": "text", "text": ""}
        await send(writer, _event("content_block_start", {"index": 0, "content_block": block}) + _event("ping", {}))

    @override
    async def _say(
        self, writer: asyncio.StreamWriter, model: str, piece: str, *, tokens: tuple[int, int], last: bool
    ) -> None:
        await send(writer, _delta(0, {"type": "text_delta", "text": piece}))
        if last:
            await send(writer, _event("content_block_stop", {"index": 0}) + _ended("end_turn", tokens[1]))

    @override
    async def _finish(self, writer: asyncio.StreamWriter, model: str, reason: str) -> None:
        await send(writer, _ended(_STOP.get(reason, reason), 1))

    @override
    async def _garble(self, writer: asyncio.StreamWriter, frame: str) -> None:
        await send(writer, f"event: content_block_delta\ndata: {frame}\n\n")

    @override
    async def _fail(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        await send(writer, f"event: error\ndata: {json.dumps(_error(529))}\n\n")

    @override
    async def _ask_for_tools(
        self, writer: asyncio.StreamWriter, model: str, calls: list[tuple[str, dict[str, Any]]]
    ) -> None:
        """Ask in parallel, each call's arguments cut in two."""
        await send(writer, _event("message_start", {"message": _message(model, 21)}))
        if self.thinks:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            await send(writer, _event("content_block_start", {"index": 0, "content_block": block}))
            await send(writer, _delta(0, {"type": "thinking_delta", "thinking": "Let me "}))
            await send(writer, _delta(0, {"type": "thinking_delta", "thinking": "think."}))
            await send(writer, _delta(0, {"type": "signature_delta", "signature": "sealed"}))
            await send(writer, _event("content_block_stop", {"index": 0}))
        for index, (name, arguments) in enumerate(calls, start=1):
            use = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
            await send(writer, _event("content_block_start", {"index": index, "content_block": use}))
            text = json.dumps(arguments)
            for piece in ("", text[:5], text[5:]):
                await send(writer, _delta(index, {"type": "input_json_delta", "partial_json": piece}))
            await send(writer, _event("content_block_stop", {"index": index}))
        await send(writer, _ended("tool_use", 8))


def _message(model: str, tokens: int) -> dict[str, Any]:
    return {
        "id": "msg_double", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": tokens, "output_tokens": 1},
    }  # fmt: skip


def _error(status: int, code: str | None = None, message: str = "SECRET provider text") -> dict[str, Any]:
    error: dict[str, Any] = {"type": _TYPES.get(status, "api_error"), "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_double"}


def _event(name: str, body: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'type': name} | body)}\n\n"


def _delta(index: int, delta: dict[str, Any]) -> str:
    return _event("content_block_delta", {"index": index, "delta": delta})


def _ended(reason: str, written: int) -> str:
    delta = {"stop_reason": reason, "stop_sequence": None}
    usage = {"output_tokens": written}
    return _event("message_delta", {"delta": delta, "usage": usage}) + _event("message_stop", {})


@asynccontextmanager
async def running_anthropic(port: int = 0) -> AsyncIterator[AnthropicDouble]:
    """Serve on a free loopback port, or on `port`, until the block is left."""
    async with serving(AnthropicDouble(), port) as double:
        yield double


if __name__ == "__main__":
    main(AnthropicDouble())
