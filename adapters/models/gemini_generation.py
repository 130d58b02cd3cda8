"""Gemini writes: streamed answers with or without tools, and short texts in one piece."""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from google import genai
from google.genai import types

from adapters.models.gemini_errors import blocked, declined, gemini_errors
from adapters.models.gemini_frames import Frame, GeminiStreams
from adapters.models.gemini_recognition import GeminiRecognizer
from adapters.models.gemini_turns import body_of, calls_in
from adapters.models.hosted import HostedWriter
from adapters.models.progress import Ending, Progress
from adapters.models.spans import model_span
from domain.errors import ProviderRejected
from domain.ports import AnswerEvent, AnswerRequest, Completion, CompletionRequest, TextDelta, ToolCall
from domain.prompts import render

_PROVIDER = "gcp.gemini"
_NAME = "gemini"
_SETTING = "CHATSPHERE_GEMINI_GENERATION_MODEL"
_THOUGHTS = 2048  # tokens that a short text may cost beyond its own where a model cannot be kept from thinking
_ENDING = Ending("Gemini", done=("STOP",), limit="MAX_TOKENS", declined=declined)
_NO_PYTHON = types.AutomaticFunctionCallingConfig(disable=True)  # calls are given out, not carried out by the client


class GeminiGenerator(HostedWriter):
    """Writes; the model may be another for each request."""

    def __init__(self, client: genai.Client, streams: GeminiStreams, model: str, *, timeout: timedelta) -> None:
        super().__init__(_NAME, model)
        self._client = client
        self._streams = streams
        self._timeout = timeout

    def page_reader(self, timeout: timedelta) -> GeminiRecognizer:
        """Give what reads page images with the same model and connections."""
        return GeminiRecognizer(self._client, self._name, timeout=timeout)

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        """Yield deltas and calls as they come, then one `Finished`."""
        model = _checked(self._chosen(request.model))
        progress = Progress()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            async with aclosing(self._frames(request, model)) as frames:
                async for frame in frames:
                    for event in _read(frame, progress, model):
                        progress.wrote = True
                        yield event
            yield _ENDING.finished(progress, f"{_NAME}/{model}", span)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Write a short text in one piece."""
        model = _checked(self._chosen(request.model))
        progress = Progress()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            events = _read(await self._response(request, model), progress, model)
            text = "".join(event.text for event in events if isinstance(event, TextDelta))
            progress.wrote = bool(text)
            end = _ENDING.finished(progress, f"{_NAME}/{model}", span)
            return Completion(text, end.model, end.input_tokens, end.output_tokens)

    async def _frames(self, request: AnswerRequest, model: str) -> AsyncGenerator[Frame]:
        """Call the model. Errors are translated here, so that none of the reader's own are."""
        prompt = render(request, boundary=request.boundary or secrets.token_hex(8))
        body = body_of(request, prompt, thinks=not _is_kept_from_thinking(model))
        with gemini_errors(model=model, setting=_SETTING):
            async with aclosing(self._streams.frames(model, body)) as frames:
                async for frame in frames:
                    yield frame

    async def _response(self, request: CompletionRequest, model: str) -> Frame:
        thinking = types.ThinkingConfig(thinking_budget=0) if _is_kept_from_thinking(model) else None
        config = types.GenerateContentConfig(
            system_instruction=request.system,
            temperature=request.temperature,
            max_output_tokens=request.max_tokens + (_THOUGHTS if thinking is None else 0),
            thinking_config=thinking,
            automatic_function_calling=_NO_PYTHON,
        )
        with gemini_errors(model=model, setting=_SETTING):
            async with asyncio.timeout(self._timeout.total_seconds()):
                response = await self._client.aio.models.generate_content(
                    model=model, contents=request.content, config=config
                )
            return Frame.model_validate(response.model_dump(mode="json", by_alias=True, exclude_none=True))


def _checked(name: str) -> str:
    """Take the name that a bot's owner wrote; it becomes part of a URL."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,120}", name) or ".." in name:
        raise ProviderRejected("The bot's model is not a Gemini model's name. Choose another for the bot, then retry.")
    return name


def _is_kept_from_thinking(model: str) -> bool:
    # 2.5 Flash thinks unless told not to: seconds before the first word, and the thoughts count
    # against max_output_tokens. Other models refuse a budget of 0.
    return model.startswith("gemini-2.5-flash")


def _read(frame: Frame, progress: Progress, model: str) -> list[TextDelta | ToolCall]:
    """Take one response, or a piece of it, into account; answer what it says and asks for."""
    usage = frame.usage_metadata
    if usage is not None:
        progress.input_tokens = usage.prompt_token_count or progress.input_tokens
        written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        progress.output_tokens = written or progress.output_tokens
    if frame.prompt_feedback is not None and frame.prompt_feedback.block_reason is not None:
        raise blocked(frame.prompt_feedback.block_reason, model=model)
    if not frame.candidates:
        return []
    candidate = frame.candidates[0]
    if candidate.finish_reason:
        progress.finish = candidate.finish_reason.upper()
    parts = candidate.content.parts if candidate.content is not None else ()
    text = "".join(part.text for part in parts if part.text and not part.thought)
    return [*([TextDelta(text)] if text else []), *calls_in(parts, model=model)]
