"""Opens the connections to OpenAI, or to any server that speaks its API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from openai import AsyncOpenAI

from adapters.models.openai_embedding import OpenAIEmbedder
from adapters.models.openai_generation import OpenAIGenerator
from adapters.models.patience import patience
from adapters.settings import Settings
from domain.errors import ProviderAuth

_OPENAI = "https://api.openai.com/v1"
_NO_KEY = "none"  # a server of one's own often wants none, and the client wants one


@asynccontextmanager
async def open_openai(settings: Settings) -> AsyncIterator[tuple[OpenAIEmbedder, OpenAIGenerator]]:
    """Open one HTTP connection pool for both models, and close it on leaving.

    Retries stay off: Temporal owns them, and counts the calls.
    """
    key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    compatible = bool(settings.openai_base_url)
    if not key.isascii() or not (key or compatible):
        raise ProviderAuth("CHATSPHERE_OPENAI_API_KEY is empty or holds characters that no key has.")
    limits = httpx2.Limits(max_connections=256, max_keepalive_connections=32)
    async with (
        httpx2.AsyncClient(limits=limits) as http,
        AsyncOpenAI(
            api_key=key or _NO_KEY,
            base_url=settings.openai_base_url or _OPENAI,
            timeout=patience(settings.model_timeout),
            max_retries=0,
            http_client=http,
        ) as client,
    ):
        embedder = OpenAIEmbedder(
            client,
            settings.openai_embedding_model,
            width=settings.embedding_width,
            timeout=settings.model_timeout,
            asks_for_width=settings.openai_embedding_dimensions,
        )
        generator = OpenAIGenerator(
            client, settings.openai_generation_model, timeout=settings.model_timeout, compatible=compatible
        )
        yield embedder, generator
