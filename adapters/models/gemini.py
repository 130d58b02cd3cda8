"""Gemini: its connections, and embeddings through google-genai. `gemini_generation.py` writes over the same connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
from google import genai
from google.genai import types

from adapters.models.gemini_errors import gemini_errors
from adapters.models.gemini_frames import BASE_URL, VERSION, GeminiStreams
from adapters.models.gemini_generation import GeminiGenerator
from adapters.models.hosted import HostedEmbedder
from adapters.models.spans import model_span, record_usage
from adapters.models.vectors import unit_vectors
from adapters.settings import Settings
from domain.errors import ProviderAuth
from domain.ports import Embeddings

_PROVIDER = "gcp.gemini"
_BATCH = 100  # the most that batchEmbedContents takes
_EMBEDDING_SETTING = "CHATSPHERE_GEMINI_EMBEDDING_MODEL"


@asynccontextmanager
async def open_gemini(settings: Settings) -> AsyncIterator[tuple["GeminiEmbedder", GeminiGenerator]]:
    """Open one HTTP connection pool for both models, and close it on leaving.

    Retries stay off: Temporal owns them, and counts the calls. `attempts=1` also turns off the
    client's hidden second attempt for aiohttp; our own httpx2 client keeps aiohttp out altogether.
    """
    key = settings.gemini_api_key.get_secret_value().strip() if settings.gemini_api_key else ""
    if not key or not key.isascii():
        raise ProviderAuth("CHATSPHERE_GEMINI_API_KEY is empty or holds characters that no key has.")
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=256, max_keepalive_connections=32)) as http:
        base_url = settings.gemini_base_url or BASE_URL
        streams = GeminiStreams(http, base_url=base_url, key=key, timeout=settings.model_timeout)
        client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version=VERSION,
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
                GeminiGenerator(client, streams, settings.gemini_generation_model, timeout=settings.model_timeout),
            )
        finally:
            await client.aio.aclose()
            client.close()


class GeminiEmbedder(HostedEmbedder):
    """Embeds 100 texts a call, at the deployment's width, normalised here.

    Gemini normalises its full width only; a shorter vector comes unnormalised.
    """

    def __init__(self, client: genai.Client, model: str, *, width: int, timeout: timedelta) -> None:
        super().__init__("gemini", model, width=width, batch=_BATCH)
        self._client = client
        self._timeout = timeout.total_seconds()

    async def _embed(self, texts: Sequence[str], *, is_question: bool) -> Embeddings:
        task = "RETRIEVAL_QUERY" if is_question else "RETRIEVAL_DOCUMENT"
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
            vectors = unit_vectors(
                [embedding.values for embedding in response.embeddings or ()],
                count=len(texts), width=self._width, who="Gemini", model=self._name,
            )  # fmt: skip
            tokens = (response.usage_metadata and response.usage_metadata.prompt_token_count) or 0
            record_usage(span, input_tokens=tokens)
            return Embeddings(vectors, tokens)
