"""Any server that speaks OpenAI's chat completions writes: streamed answers, tools, and short texts."""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import timedelta

from openai import AsyncOpenAI, omit
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from adapters.models.hosted import HostedWriter
from adapters.models.openai_errors import WHO, declined, openai_errors
from adapters.models.openai_messages import messages_of, tools_of
from adapters.models.progress import CallParts, Ending, Progress, calls_of
from adapters.models.spans import model_span
from domain.ports import AnswerEvent, AnswerRequest, Completion, CompletionRequest, TextDelta
from domain.prompts import render

_PROVIDER = "openai"
_SETTING = "CHATSPHERE_OPENAI_GENERATION_MODEL"
_ENDING = Ending(WHO, done=("stop", "tool_calls", "function_call"), limit="length", declined=declined)
# OpenAI's models that think take no temperature, know the newer name of the token limit only, and their thoughts
# count against it.
_THINKS = re.compile(r"o\d|gpt-[5-9]")
_THOUGHTS = 2048


class OpenAIGenerator(HostedWriter):
    """Writes; the model may be another for each request."""

    def __init__(self, client: AsyncOpenAI, model: str, *, timeout: timedelta, compatible: bool) -> None:
        """`compatible` is a server of somebody else's, which knows the older name of the token limit only."""
        super().__init__(_PROVIDER, model)
        self._client = client
        self._timeout = timeout
        self._compatible = compatible

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        """Yield deltas as they come, then the calls, then one `Finished`."""
        model = self._chosen(request.model)
        progress = Progress()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            async with aclosing(self._deltas(request, model, progress)) as deltas:
                async for delta in deltas:
                    progress.wrote = True
                    yield delta
            end = _ENDING.finished(progress, f"{_PROVIDER}/{model}", span)
            for call in calls_of(progress, who=WHO, model=model):
                yield call
            yield end

    async def complete(self, request: CompletionRequest) -> Completion:
        """Write a short text in one piece."""
        model = self._chosen(request.model)
        progress = Progress()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            with openai_errors(model=model, setting=_SETTING):
                async with asyncio.timeout(self._timeout.total_seconds()):
                    response = await self._ask(request, model)
                text = _whole(response, progress)
            end = _ENDING.finished(progress, f"{_PROVIDER}/{model}", span)
            return Completion(text, end.model, end.input_tokens, end.output_tokens)

    async def _deltas(self, request: AnswerRequest, model: str, progress: Progress) -> AsyncGenerator[TextDelta]:
        """Call the model. Errors are translated here, so that none of the reader's own are."""
        prompt = render(request, boundary=request.boundary or secrets.token_hex(8))
        with openai_errors(model=model, setting=_SETTING):
            stream = await self._client.chat.completions.create(
                model=model,
                messages=messages_of(prompt),
                tools=tools_of(prompt.tools) or omit,
                temperature=omit if _thinks(model) else request.temperature,
                max_tokens=request.max_tokens if self._is_older(model) else omit,
                max_completion_tokens=omit if self._is_older(model) else request.max_tokens,
                stream=True,
                stream_options={"include_usage": True},
            )
            async with stream:
                async for chunk in stream:
                    for text in _read(chunk, progress, model):
                        yield TextDelta(text)

    async def _ask(self, request: CompletionRequest, model: str) -> ChatCompletion:
        room = request.max_tokens + (_THOUGHTS if _thinks(model) else 0)
        return await self._client.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": request.system}, {"role": "user", "content": request.content}],
            temperature=omit if _thinks(model) else request.temperature,
            max_tokens=room if self._is_older(model) else omit,
            max_completion_tokens=omit if self._is_older(model) else room,
        )

    def _is_older(self, model: str) -> bool:
        return self._compatible and not _thinks(model)


def _thinks(model: str) -> bool:
    return _THINKS.match(model) is not None


def _read(chunk: ChatCompletionChunk, progress: Progress, model: str) -> Iterator[str]:
    """Take one chunk of the stream into account; give its text. The last one has the usage and no choice."""
    _count(chunk.usage, progress)
    if not chunk.choices:
        return
    choice = chunk.choices[0]
    if choice.finish_reason:
        progress.finish = choice.finish_reason
    if choice.delta.refusal:
        raise declined("refusal", model)
    for piece in choice.delta.tool_calls or ():
        _add(piece, progress)
    if choice.delta.content:
        yield "" + choice.delta.content  # whatever is no text raises here: the client checks nothing


def _add(piece: ChoiceDeltaToolCall, progress: Progress) -> None:
    """Add a piece to its call. Some servers give every call the same index: a new id with a name is a new call."""
    function = piece.function
    name, arguments = (function.name or "", function.arguments or "") if function else ("", "")
    known = progress.call(piece.index)
    if known is None or (piece.id and name and piece.id != known.id):
        known = CallParts(piece.index, piece.id or "", name)
        progress.calls.append(known)
    known.arguments += arguments


def _whole(response: ChatCompletion, progress: Progress) -> str:
    _count(response.usage, progress)
    choice = response.choices[0]
    progress.finish = "refusal" if choice.message.refusal else choice.finish_reason
    text = choice.message.content or ""
    progress.wrote = bool(text.strip())
    return text


def _count(usage: CompletionUsage | None, progress: Progress) -> None:
    if usage is not None:
        progress.input_tokens = usage.prompt_tokens or progress.input_tokens
        progress.output_tokens = usage.completion_tokens or progress.output_tokens
