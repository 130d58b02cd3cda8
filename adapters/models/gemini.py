"""Gemini through google-genai: embeddings and streamed answers."""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import httpx2
import numpy as np
from google import genai
from google.genai import types
from opentelemetry.trace import Span

from adapters.models.gemini_errors import blocked, declined, gemini_errors
from adapters.models.gemini_recognition import GeminiRecognizer
from adapters.models.spans import model_span, record_usage
from adapters.settings import Settings
from domain.conversation import Role
from domain.errors import ProviderAuth, ProviderError, ProviderMalformed, ProviderRejected
from domain.ports import AnswerRequest, Embeddings, Finished, TextDelta, Vectors
from domain.prompts import render

_PROVIDER = "gcp.gemini"
_BATCH = 100  # the most that batchEmbedContents takes
_EMBEDDING_SETTING = "CHATSPHERE_GEMINI_EMBEDDING_MODEL"
_GENERATION_SETTING = "CHATSPHERE_GEMINI_GENERATION_MODEL"
_ROLES = {Role.USER: "user", Role.ASSISTANT: "model"}


@asynccontextmanager
async def open_gemini(settings: Settings) -> AsyncIterator[tuple["GeminiEmbedder", "GeminiGenerator"]]:
    """Open one HTTP connection pool for both models, and close it on leaving.

    Retries stay off: Temporal owns them, and counts the calls. `attempts=1` also turns off the
    client's hidden second attempt for aiohttp; our own httpx2 client keeps aiohttp out altogether.
    """
    key = settings.gemini_api_key.get_secret_value().strip() if settings.gemini_api_key else ""
    if not key or not key.isascii():
        raise ProviderAuth("CHATSPHERE_GEMINI_API_KEY is empty or holds characters that no key has.")
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=256, max_keepalive_connections=32)) as http:
        client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=settings.gemini_base_url,
                timeout=int(settings.model_timeout.total_seconds() * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
                httpx_async_client=http,
            ),
        )
        try:
            yield (
                GeminiEmbedder(
                    client,
                    settings.gemini_embedding_model,
                    width=settings.embedding_width,
                    timeout=settings.model_timeout,
                ),
                GeminiGenerator(client, settings.gemini_generation_model),
            )
        finally:
            await client.aio.aclose()
            client.close()


class GeminiEmbedder:
    """Embeds 100 texts a call, at the deployment's width, normalised here.

    Gemini normalises its full width only; a shorter vector comes unnormalised.
    """

    def __init__(self, client: genai.Client, model: str, *, width: int, timeout: timedelta) -> None:
        self._client = client
        self._name = model
        self._width = width
        self._timeout = timeout.total_seconds()

    @property
    def model(self) -> str:
        return f"gemini/{self._name}"

    @property
    def width(self) -> int:
        return self._width

    @property
    def batch_size(self) -> int:
        return _BATCH

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed in one call. Shape (texts, width)."""
        if len(texts) > _BATCH:
            raise ValueError(f"{len(texts)} texts in one call; {_BATCH} at most")
        if not texts:
            return Embeddings(np.zeros((0, self._width), np.float32))
        return await self._embed(texts, "RETRIEVAL_DOCUMENT")

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question. Shape (width,)."""
        vector: Vectors = (await self._embed([text], "RETRIEVAL_QUERY")).vectors[0]
        return vector

    def fluency(self, text: str) -> float:  # noqa: ARG002  (of every text)
        """Gemini's embedding models are made for a hundred languages."""
        return 1.0

    async def _embed(self, texts: Sequence[str], task: Literal["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"]) -> Embeddings:
        # One content a text: gemini-embedding-2 reads a list of strings as parts of one content.
        # As dicts: the client takes 0.13 s for 900 texts, where building and checking its models takes 0.29.
        contents = [types.ContentDict(role="user", parts=[types.PartDict(text=text)]) for text in texts]
        with model_span("embeddings", provider=_PROVIDER, model=self._name) as span:
            with gemini_errors(model=self._name, setting=_EMBEDDING_SETTING):
                async with asyncio.timeout(self._timeout):
                    response = await self._client.aio.models.embed_content(
                        model=self._name,
                        contents=contents,
                        config=types.EmbedContentConfig(task_type=task, output_dimensionality=self._width),
                    )
            vectors = self._checked(response.embeddings or [], len(texts))
            tokens = (response.usage_metadata and response.usage_metadata.prompt_token_count) or 0
            record_usage(span, input_tokens=tokens)
            return Embeddings(vectors, tokens)

    def _checked(self, embeddings: Sequence[types.ContentEmbedding], count: int) -> Vectors:
        if len(embeddings) != count:
            raise ProviderMalformed(f"Gemini answered {len(embeddings)} vectors for {count} texts ({self._name}).")
        widths = {len(embedding.values or ()) for embedding in embeddings}
        if widths != {self._width}:
            raise ProviderMalformed(
                f"Gemini answered vectors of {', '.join(map(str, sorted(widths)))} dimensions where "
                f"{self._width} were asked for ({self._name})."
            )
        vectors = np.array([embedding.values for embedding in embeddings], np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or (norms < 1e-9).any():
            raise ProviderMalformed(f"Gemini answered a vector without a direction ({self._name}).")
        unit: Vectors = (vectors / norms).astype(np.float32)
        return unit


@dataclass(slots=True)
class _Progress:
    """What a stream has told so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    wrote: bool = False
    finish: str | None = None


class GeminiGenerator:
    """Streams answers; the model may be another for each request."""

    def __init__(self, client: genai.Client, model: str) -> None:
        self._client = client
        self._name = model

    @property
    def model(self) -> str:
        return self._name

    def page_reader(self, timeout: timedelta) -> GeminiRecognizer:
        """Give what reads page images with the same model and connections."""
        return GeminiRecognizer(self._client, self._name, timeout=timeout)

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[TextDelta | Finished]:
        """Yield deltas as they come, then one `Finished`."""
        model = _model_name(request.model or self._name)
        progress = _Progress()
        with model_span("chat", provider=_PROVIDER, model=model) as span:
            async with aclosing(self._responses(request, model)) as responses:
                async for response in responses:
                    if text := _read(response, progress, model):
                        progress.wrote = True
                        yield TextDelta(text)
            yield _finished(progress, model, span)

    async def _responses(self, request: AnswerRequest, model: str) -> AsyncGenerator[types.GenerateContentResponse]:
        """Call the model. Errors are translated here, so that none of the reader's own are."""
        prompt = render(request, boundary=secrets.token_hex(8))
        contents: list[types.ContentUnion] = [
            types.Content(role=_ROLES[role], parts=[types.Part(text=text)]) for role, text in prompt.turns
        ]
        with gemini_errors(model=model, setting=_GENERATION_SETTING):
            stream = await self._client.aio.models.generate_content_stream(
                model=model, contents=contents, config=_config(request, prompt.system, model)
            )
            async for response in stream:
                yield response


def _model_name(name: str) -> str:
    """Take the name that a bot's owner wrote; it becomes part of a URL."""
    bare = name.removeprefix("gemini/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,120}", bare) or ".." in bare:
        raise ProviderRejected("The bot's model is not a Gemini model's name. Choose another for the bot, then retry.")
    return bare


def _config(request: AnswerRequest, system: str, model: str) -> types.GenerateContentConfig:
    # 2.5 Flash thinks unless told not to: seconds before the first word, and the thoughts count
    # against max_output_tokens. Other models refuse a budget of 0.
    thinking = types.ThinkingConfig(thinking_budget=0) if model.startswith("gemini-2.5-flash") else None
    return types.GenerateContentConfig(
        system_instruction=system,
        temperature=request.temperature,
        max_output_tokens=request.max_tokens,
        thinking_config=thinking,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _read(response: types.GenerateContentResponse, progress: _Progress, model: str) -> str:
    """Take one response of the stream into account; answer its text."""
    usage = response.usage_metadata
    if usage is not None:
        progress.input_tokens = usage.prompt_token_count or progress.input_tokens
        written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        progress.output_tokens = written or progress.output_tokens
    if response.prompt_feedback is not None and response.prompt_feedback.block_reason is not None:
        raise blocked(response.prompt_feedback.block_reason.value, model=model)
    if not response.candidates:
        return ""
    candidate = response.candidates[0]
    if candidate.finish_reason is not None:
        progress.finish = candidate.finish_reason.value
    parts = (candidate.content and candidate.content.parts) or ()
    return "".join(part.text for part in parts if part.text and not part.thought)


def _finished(progress: _Progress, model: str, span: Span) -> Finished:
    record_usage(span, input_tokens=progress.input_tokens, output_tokens=progress.output_tokens)
    if progress.finish is None:
        raise ProviderError(f"Gemini's answer stopped before its end ({model}).")
    if progress.finish not in ("STOP", "MAX_TOKENS"):
        raise declined(progress.finish, model=model)
    if not progress.wrote and progress.finish == "MAX_TOKENS":
        raise ProviderRejected(f"The token limit was spent before a word was written. Raise the bot's limit ({model}).")
    if not progress.wrote:
        raise ProviderMalformed(f"Gemini's answer was empty ({model}).")
    return Finished(model=model, input_tokens=progress.input_tokens, output_tokens=progress.output_tokens)
