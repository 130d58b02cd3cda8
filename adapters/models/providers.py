"""Opens the models that the settings choose."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import structlog

from adapters.models.routed import RoutedGenerator
from adapters.models.tesseract import TesseractRecognizer, installed_languages
from adapters.settings import Settings
from domain.ports import Embedder, Generator, TextRecognizer

if TYPE_CHECKING:
    from adapters.models.local_embedding import LocalEmbedder

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Models:
    """What embeds, what answers, and what reads page images, if anything does."""

    embedder: Embedder
    generator: Generator
    recognizer: TextRecognizer | None = None


@dataclass(frozen=True, slots=True)
class _Provider:
    """What one provider can do. The local models are made where they are first needed."""

    generator: Callable[[], Generator]
    embedder: Callable[[], Embedder] | None = None
    reader: TextRecognizer | None = None


@asynccontextmanager
async def open_models(settings: Settings) -> AsyncIterator[Models]:
    """Open every provider that is set up, and close their connections on leaving.

    Only those are imported: google-genai takes a second and 60 MB, onnxruntime a third of it.
    """
    async with AsyncExitStack() as stack:
        opened = {name: await _open(name, settings, stack) for name in sorted(settings.providers)}
        embedder = opened[settings.embeds_with].embedder
        if embedder is None:
            raise ValueError(f"{settings.embeds_with} does not embed")
        reader = opened["gemini"].reader if "gemini" in opened else None
        reads = settings.provider == "gemini" or settings.ocr == "provider"
        generator = RoutedGenerator(
            {name: provider.generator for name, provider in opened.items()}, default=settings.provider
        )
        yield Models(embedder(), generator, recognizer_of(settings, reader if reads else None))


async def _open(name: str, settings: Settings, stack: AsyncExitStack) -> _Provider:
    match name:
        case "gemini":
            from adapters.models.gemini import open_gemini  # noqa: PLC0415  (see above)

            embedder, generator = await stack.enter_async_context(open_gemini(settings))
            return _Provider(lambda: generator, lambda: embedder, generator.page_reader(settings.model_timeout))
        case "openai":
            from adapters.models.openai_client import open_openai  # noqa: PLC0415  (see above)

            openai_embedder, openai_generator = await stack.enter_async_context(open_openai(settings))
            return _Provider(lambda: openai_generator, lambda: openai_embedder)
        case "anthropic":
            from adapters.models.anthropic_generation import open_anthropic  # noqa: PLC0415  (see above)

            anthropic_generator = await stack.enter_async_context(open_anthropic(settings))
            return _Provider(lambda: anthropic_generator)
        case _:
            return _local(settings.embedding_width)


def _local(width: int) -> _Provider:
    @cache
    def embedder() -> "LocalEmbedder":
        from adapters.models.local_embedding import LocalEmbedder  # noqa: PLC0415  (see above)

        return LocalEmbedder(width=width)

    @cache
    def generator() -> Generator:
        from adapters.models.local_answers import LocalGenerator  # noqa: PLC0415  (see above)

        return LocalGenerator(embedder())

    return _Provider(generator, embedder)


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
