"""Opens the models that the settings choose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import assert_never

import structlog

from adapters.models.tesseract import TesseractRecognizer, installed_languages
from adapters.settings import Settings
from domain.ports import Embedder, Generator, TextRecognizer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Models:
    """What embeds, what answers, and what reads page images, if anything does."""

    embedder: Embedder
    generator: Generator
    recognizer: TextRecognizer | None = None


@asynccontextmanager
async def open_models(settings: Settings) -> AsyncIterator[Models]:
    """Open one provider, and close its connections on leaving.

    Only the chosen provider is imported: google-genai takes a second and 60 MB, onnxruntime a third of it.
    """
    match settings.provider:
        case "gemini":
            from adapters.models.gemini import open_gemini  # noqa: PLC0415  (see above)

            async with open_gemini(settings) as (embedder, generator):
                reader = generator.page_reader(settings.model_timeout)
                yield Models(embedder, generator, recognizer_of(settings, reader))
        case "local":
            from adapters.models.local_answers import LocalGenerator  # noqa: PLC0415  (see above)
            from adapters.models.local_embedding import LocalEmbedder  # noqa: PLC0415  (see above)

            local = LocalEmbedder(width=settings.embedding_width)
            yield Models(local, LocalGenerator(local), recognizer_of(settings))
        case _:
            assert_never(settings.provider)


def recognizer_of(settings: Settings, of_provider: TextRecognizer | None = None) -> TextRecognizer | None:
    """Choose what reads page images: the provider goes before Tesseract, whose system must have it."""
    if settings.ocr == "off":
        return None
    if of_provider is not None and settings.ocr != "tesseract":
        return of_provider
    return None if settings.ocr == "provider" else _tesseract(settings)


def _tesseract(settings: Settings) -> TextRecognizer | None:
    wanted, installed = settings.ocr_languages.split("+"), installed_languages()
    present = [language for language in wanted if language in installed]
    if settings.ocr == "tesseract" and len(present) < len(wanted):
        log.warning("ocr_languages_missing", missing=sorted(set(wanted) - installed))
    if not present:
        return None
    return TesseractRecognizer(
        present,
        turns="osd" in installed,
        processes=settings.worker_cpu_slots,
        seconds=settings.ocr_seconds,
    )
