"""What the models of all providers have in common, whatever protocol they are asked by."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from domain.ports import Embeddings, Vectors


class HostedWriter:
    """A provider's model that writes; it may be another of the provider's for each request."""

    def __init__(self, provider: str, name: str) -> None:
        self._provider = provider
        self._name = name

    @property
    def model(self) -> str:
        return f"{self._provider}/{self._name}"

    @property
    def completes(self) -> bool:
        return True

    def completes_with(self, model: str | None) -> bool:  # noqa: ARG002  (with any)
        """Every model writes."""
        return True

    def _chosen(self, model: str | None) -> str:
        """Give the provider's own name of the model that a request wants."""
        return (model or "").removeprefix(f"{self._provider}/") or self._name


class HostedEmbedder(ABC):
    """Embeds so many texts a call, at the deployment's width, in every language: providers' models are made for all."""

    def __init__(self, provider: str, name: str, *, width: int, batch: int) -> None:
        self._name = name
        self._model = f"{provider}/{name}"
        self._width = width
        self._batch = batch

    @property
    def model(self) -> str:
        return self._model

    @property
    def width(self) -> int:
        return self._width

    @property
    def batch_size(self) -> int:
        return self._batch

    def fluency(self, text: str) -> float:  # noqa: ARG002  (of every text)
        """Which languages a model was made for is not told: it is taken to read all."""
        return 1.0

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed in one call. Shape (texts, width)."""
        if len(texts) > self._batch:
            raise ValueError(f"{len(texts)} texts in one call; {self._batch} at most")
        if not texts:
            return Embeddings(np.zeros((0, self._width), np.float32))
        return await self._embed(texts, is_question=False)

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question. Shape (width,)."""
        vector: Vectors = (await self._embed([text], is_question=True)).vectors[0]
        return vector

    @abstractmethod
    async def _embed(self, texts: Sequence[str], *, is_question: bool) -> Embeddings:
        """Ask the provider, once."""
