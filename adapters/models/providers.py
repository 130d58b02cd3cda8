"""Opens the models that the settings choose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import assert_never

from adapters.settings import Settings
from domain.ports import Embedder, Generator


@dataclass(frozen=True, slots=True)
class Models:
    """What embeds and what answers."""

    embedder: Embedder
    generator: Generator


@asynccontextmanager
async def open_models(settings: Settings) -> AsyncIterator[Models]:
    """Open one provider, and close its connections on leaving.

    Only the chosen provider is imported: google-genai takes a second and 60 MB, onnxruntime a third of it.
    """
    match settings.provider:
        case "gemini":
            from adapters.models.gemini import open_gemini  # noqa: PLC0415  (see above)

            async with open_gemini(settings) as (embedder, generator):
                yield Models(embedder, generator)
        case "local":
            from adapters.models.local_answers import LocalGenerator  # noqa: PLC0415  (see above)
            from adapters.models.local_embedding import LocalEmbedder  # noqa: PLC0415  (see above)

            local = LocalEmbedder(width=settings.embedding_width)
            yield Models(local, LocalGenerator(local))
        case _:
            assert_never(settings.provider)
