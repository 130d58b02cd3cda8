"""Any server that speaks OpenAI's embeddings embeds."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from openai import AsyncOpenAI, omit

from adapters.models.hosted import HostedEmbedder
from adapters.models.openai_errors import WHO, openai_errors
from adapters.models.spans import model_span, record_usage
from adapters.models.vectors import unit_vectors
from domain.ports import Embeddings

_PROVIDER = "openai"
_SETTING = "CHATSPHERE_OPENAI_EMBEDDING_MODEL"
# 2,048 texts are allowed and 300,000 tokens in all: a hundred chunks of the largest size are a third of that.
_BATCH = 100


class OpenAIEmbedder(HostedEmbedder):
    """Embeds 100 texts a call, at the deployment's width, normalised here."""

    def __init__(
        self, client: AsyncOpenAI, model: str, *, width: int, timeout: timedelta, asks_for_width: bool
    ) -> None:
        """`asks_for_width`: the server knows `dimensions`; otherwise the model's own width must be the deployment's."""
        super().__init__(_PROVIDER, model, width=width, batch=_BATCH)
        self._client = client
        self._timeout = timeout.total_seconds()
        self._asks_for_width = asks_for_width

    async def _embed(self, texts: Sequence[str], *, is_question: bool) -> Embeddings:  # noqa: ARG002  (both alike)
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
