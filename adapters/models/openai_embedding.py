"""Any server that speaks OpenAI's embeddings embeds."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from openai import AsyncOpenAI, omit

from adapters.models.openai_errors import WHO, openai_errors
from adapters.models.spans import model_span, record_usage
from adapters.models.vectors import unit_vectors
from domain.ports import Embeddings, Vectors

_PROVIDER = "openai"
_SETTING = "CHATSPHERE_OPENAI_EMBEDDING_MODEL"
# 2,048 texts are allowed and 300,000 tokens in all: a hundred chunks of the largest size are a third of that.
_BATCH = 100


class OpenAIEmbedder:
    """Embeds 100 texts a call, at the deployment's width, normalised here."""

    def __init__(
        self, client: AsyncOpenAI, model: str, *, width: int, timeout: timedelta, asks_for_width: bool
    ) -> None:
        """`asks_for_width`: the server knows `dimensions`; otherwise the model's own width must be the deployment's."""
        self._client = client
        self._name = model
        self._width = width
        self._timeout = timeout.total_seconds()
        self._asks_for_width = asks_for_width

    @property
    def model(self) -> str:
        return f"{_PROVIDER}/{self._name}"

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
        return await self._embed(texts)

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question. Shape (width,)."""
        vector: Vectors = (await self._embed([text])).vectors[0]
        return vector

    def fluency(self, text: str) -> float:  # noqa: ARG002  (of every text)
        """Which languages a server's model was made for is not known here; OpenAI's are made for all."""
        return 1.0

    async def _embed(self, texts: Sequence[str]) -> Embeddings:
        with model_span("embeddings", provider=_PROVIDER, model=self._name) as span:
            with openai_errors(model=self._name, setting=_SETTING):
                async with asyncio.timeout(self._timeout):
                    response = await self._client.embeddings.create(
                        model=self._name,
                        input=list(texts),
                        dimensions=self._width if self._asks_for_width else omit,
                    )
                ordered = sorted(response.data, key=lambda entry: entry.index)
                vectors = unit_vectors(
                    [entry.embedding for entry in ordered],
                    count=len(texts), width=self._width, who=WHO, model=self._name,
                )  # fmt: skip
                tokens = int(getattr(response.usage, "prompt_tokens", 0) or 0)  # some servers tell none
            record_usage(span, input_tokens=tokens)
            return Embeddings(vectors, tokens)
