"""Every capability, and how it is built from what the process opened."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.worker import Interceptor

from activities.chunking import Chunking, Sizes
from activities.conversation import Conversation
from activities.crawling import Crawling
from activities.deletion import Deletion
from activities.embedding import Embedding
from activities.extraction import Extraction
from activities.flight import FlightRecorder
from activities.generation import Generation
from activities.housekeeping import Housekeeping
from activities.imports import Imports
from activities.ingestion import Ingestion
from activities.interceptor import ErrorInterceptor
from activities.pack_embedding import PackEmbedding
from activities.pack_reading import PackReading
from activities.recognition import Recognition
from activities.retrieval import Retrieval
from activities.unpacking import Unpacking
from adapters.clock import now
from adapters.wiring import Adapters, admission_of, archive_limits, extraction_limits
from domain.steps import STEPS, Queue

CAPABILITIES = (
    Ingestion, Extraction, Recognition, Chunking, Embedding, Conversation, Retrieval, Generation, Crawling, Deletion,
    Housekeeping,
    Imports, PackReading, PackEmbedding, Unpacking,
)  # fmt: skip


def activities_of(adapters: Adapters, queue: Queue) -> list[Callable[..., Any]]:
    """Build the activities that a worker of this queue serves."""
    settings, engine, blobs = adapters.settings, adapters.engine, adapters.blobs
    sizes = Sizes(settings.chunk_characters, settings.chunk_overlap)
    built: Sequence[object] = (
        Ingestion(engine, blobs, admission_of(adapters), now),
        Extraction(engine, blobs, adapters.extractor, extraction_limits(settings), now, adapters.recognizer),
        Recognition(engine, blobs, adapters.extractor, adapters.recognizer, extraction_limits(settings), now),
        Chunking(engine, blobs, adapters.embedder, sizes, now),
        Embedding(engine, blobs, adapters.embedder, now),
        Conversation(engine, now),
        Retrieval(engine, adapters.embedder),
        Generation(engine, adapters.generator, silence=settings.model_timeout),
        Crawling(
            engine,
            blobs,
            adapters.fetcher,
            adapters.temporal,
            now,
            delay=timedelta(seconds=settings.crawl_delay_seconds),
        ),
        Deletion(engine, blobs, adapters.temporal, now),
        Housekeeping(engine, blobs, adapters.temporal, now, cap=settings.owner_running_documents),
        Imports(engine, blobs, adapters.temporal, now),
        PackReading(
            engine, blobs, adapters.extractor, adapters.embedder, adapters.temporal, extraction_limits(settings), sizes, now
        ),
        PackEmbedding(engine, blobs, adapters.embedder, adapters.temporal, now),
        Unpacking(engine, blobs, archive_limits(settings), now),
    )  # fmt: skip
    served = {step.name for step in STEPS if step.queue is queue}
    return [method for capability in built for name, method in _activities(capability) if name in served]


def interceptors_of(adapters: Adapters) -> list[Interceptor]:
    """Translate errors outermost, so that the flight record sees them as they were raised."""
    return [ErrorInterceptor(), FlightRecorder(adapters.engine, now)]


def _activities(capability: object) -> list[tuple[str, Callable[..., Any]]]:
    found = []
    for attribute in dir(type(capability)):
        method = getattr(capability, attribute)
        definition = activity._Definition.from_callable(method) if callable(method) else None
        if definition is not None and definition.name is not None:
            found.append((definition.name, method))
    return found
