"""Anthropic writes: streamed answers with or without tools, and short texts in one piece."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import httpx2
from anthropic import AsyncAnthropic, omit
from anthropic.types import Message, MessageDeltaUsage, RawMessageStreamEvent, Usage

from adapters.models.anthropic_errors import WHO, anthropic_errors, declined
from adapters.models.anthropic_messages import messages_of, signature_of, tools_of
from adapters.models.hosted import HostedWriter
from adapters.models.patience import patience
from adapters.models.progress import CallParts, Ending, Progress, calls_of
from adapters.models.spans import model_span
from adapters.settings import Settings
from domain.errors import ProviderAuth
from domain.ports import AnswerEvent, AnswerRequest, Completion, CompletionRequest, TextDelta
from domain.prompts import render

_PROVIDER = "anthropic"
_ANTHROPIC = "https://api.anthropic.com"
_ENDING = Ending(WHO, done=("end_turn", "stop_sequence", "tool_use"), limit="max_tokens", declined=declined)


@asynccontextmanager
async def open_anthropic(settings: Settings) -> AsyncIterator["AnthropicGenerator"]:
    """Open a HTTP connection pool, and close it on leaving.

    Retries stay off: Temporal owns them, and counts the calls. So do the client's own spans: ours hold no content.
    """
    key = settings.anthropic_api_key.get_secret_value().strip() if settings.anthropic_api_key else ""
    if not key or not key.isascii():
        raise ProviderAuth("CHATSPHERE_ANTHROPIC_API_KEY is empty or holds characters that no key has.")
    limits = httpx2.Limits(max_connections=256, max_keepalive_connections=32)
    async with (
        httpx2.AsyncClient(limits=limits) as http,
        AsyncAnthropic(
            api_key=key,
            base_url=settings.anthropic_base_url or _ANTHROPIC,
            timeout=patience(settings.model_timeout),
            max_retries=0,
            http_client=http,
            open_telemetry=False,
        ) as client,
    ):
        yield AnthropicGenerator(client, settings.anthropic_generation_model, timeout=settings.model_timeout)


class AnthropicGenerator(HostedWriter):
    """Writes; the model may be another for each request. The client has no temperature, so none is sent."""

    def __init__(self, client: AsyncAnthropic, model: str, *, timeout: timedelta) -> None:
        super().__init__(_PROVIDER, model)
        self._client = client
        self._timeout = timeout

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        """Yield deltas as they come, then the calls, then one `Finished`."""
        model = self._chosen(request.model)
        reading = _Reading()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            async with aclosing(self._deltas(request, model, reading)) as deltas:
                async for delta in deltas:
                    reading.progress.wrote = True
                    yield delta
            end = _ENDING.finished(reading.progress, f"{_PROVIDER}/{model}", span)
            signature = signature_of(reading.thoughts.values())
            for call in calls_of(reading.progress, who=WHO, model=model, signature=signature):
                yield call
            yield end

    async def complete(self, request: CompletionRequest) -> Completion:
        """Write a short text in one piece."""
        model = self._chosen(request.model)
        progress = Progress()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            with anthropic_errors(model=model):
                async with asyncio.timeout(self._timeout.total_seconds()):
                    message = await self._client.messages.create(
                        model=model,
                        max_tokens=request.max_tokens,
                        system=request.system or omit,
                        messages=[{"role": "user", "content": request.content}],
                    )
                text = _whole(message, progress)
            end = _ENDING.finished(progress, f"{_PROVIDER}/{model}", span)
            return Completion(text, end.model, end.input_tokens, end.output_tokens)

    async def _deltas(self, request: AnswerRequest, model: str, reading: "_Reading") -> AsyncGenerator[TextDelta]:
        """Call the model. Errors are translated here, so that none of the reader's own are."""
        prompt = render(request, boundary=request.boundary or secrets.token_hex(8))
        with anthropic_errors(model=model):
            stream = await self._client.messages.create(
                model=model,
                max_tokens=request.max_tokens,
                system=prompt.system,
                messages=messages_of(prompt),
                tools=tools_of(prompt.tools) or omit,
                stream=True,
            )
            async with stream:
                async for event in stream:
                    if text := reading.read(event):
                        yield TextDelta(text)


class _Reading:
    """A stream of blocks: text, thoughts and calls, each in pieces under its index."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.thoughts: dict[int, dict[str, str]] = {}

    def read(self, event: RawMessageStreamEvent) -> str:
        """Take one event into account; answer its text."""
        match event.type:
            case "message_start":
                _count(event.message.usage, self.progress)
            case "content_block_start":
                return self._start(event.index, event.content_block.to_dict())
            case "content_block_delta":
                return self._add(event.index, event.delta.to_dict())
            case "message_delta":
                self.progress.finish = event.delta.stop_reason or self.progress.finish
                _count(event.usage, self.progress)
            case "content_block_stop" | "message_stop":
                pass
        return ""

    def _start(self, index: int, block: dict[str, object]) -> str:
        match block:
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                self.progress.calls.append(CallParts(index, id_, name))
            case {"type": "thinking"}:
                self.thoughts[index] = {"type": "thinking", "thinking": "", "signature": ""}
            case {"type": "redacted_thinking", "data": str(data)}:
                self.thoughts[index] = {"type": "redacted_thinking", "data": data}
            case {"type": "text", "text": str(text)}:
                return text
            case _:
                pass
        return ""

    def _add(self, index: int, delta: dict[str, object]) -> str:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                return text
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                self.progress.calls[-1].arguments += piece
            case {"type": "thinking_delta", "thinking": str(piece)}:
                self.thoughts[index]["thinking"] += piece
            case {"type": "signature_delta", "signature": str(piece)}:
                self.thoughts[index]["signature"] += piece
            case {"type": "text_delta" | "input_json_delta"}:
                raise TypeError("a piece that is no text")
            case _:
                pass
        return ""


def _whole(message: Message, progress: Progress) -> str:
    _count(message.usage, progress)
    progress.finish = message.stop_reason
    text = "".join(block.text for block in message.content if block.type == "text")
    progress.wrote = bool(text.strip())
    return text


def _count(usage: Usage | MessageDeltaUsage, progress: Progress) -> None:
    """Take the usage so far; what was read from the cache counts among the input's tokens."""
    read = (usage.input_tokens or 0) + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    progress.input_tokens = read or progress.input_tokens
    progress.output_tokens = usage.output_tokens or progress.output_tokens
