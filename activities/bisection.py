"""One call for a batch of texts; where the provider refuses it, halves of it, until the refused text stands alone."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from domain.embedding import Refused, Text
from domain.errors import ProviderError, ProviderInputRefused, SafetyBlocked
from domain.ports import Embedder, Vectors

log = structlog.get_logger(__name__)

T = TypeVar("T")

REFUSALS = (ProviderInputRefused, SafetyBlocked)
"""Refusals that a single text of the batch may be the cause of."""

# So many refused and none taken: that is not a text's fault, although the sentence below was taken.
_SEVERAL = 8

_HARMLESS = "The library opens at nine."


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """Texts of one call with their vectors; or, after no call that has to be paid, texts that were refused."""

    texts: Sequence[Text[T]]
    results: Sequence[Vectors | Refused]
    calls: int
    tokens: int


async def embed_texts(embedder: Embedder, texts: Sequence[Text[T]]) -> AsyncGenerator[Answered[T]]:
    """Embed a batch, and give each answer as it comes; what is refused comes last.

    A single refused text takes some two calls for each halving. Raises what the embedder raises,
    and its refusal where that is not about a text: an ordinary sentence is refused as well, or
    several texts are and none is taken. Nothing is marked as refused in that case.
    """
    waiting, taken = [texts], 0
    refused: list[tuple[Text[T], Refused]] = []
    proven = False
    while waiting:
        part = waiting.pop()
        try:
            embeddings = await embedder.embed_documents([text.content for text in part])
        except REFUSALS as refusal:
            if not (proven or taken):
                await _prove(embedder, refusal)
                proven = True
            if len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                continue
            refused.append((part[0], Refused(refusal.code)))
            if not taken and len(refused) >= _SEVERAL:
                raise
        else:
            taken += 1
            yield Answered(part, list(embeddings.vectors), 1, embeddings.tokens)
    if refused:
        log.warning("texts_refused", count=len(refused), codes=sorted({why.code for _, why in refused}))
        yield Answered([text for text, _ in refused], [why for _, why in refused], 0, 0)


async def _prove(embedder: Embedder, refusal: ProviderError) -> None:
    """Raise the refusal unless the model takes an ordinary sentence: then it is about a text, not about the model."""
    try:
        await embedder.embed_documents([_HARMLESS])
    except REFUSALS:
        raise refusal from None
