"""Every capability, and how it is built from what the process opened."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.worker import Interceptor

from activities.agent import Agent
from activities.catalogues import Catalogues
from activities.chunking import Chunking, Sizes
from activities.consultation import Consultations
from activities.conversation import Conversation
from activities.crawling import Crawling
from activities.deletion import Deletion
from activities.document_search import DocumentSearch
from activities.embedding import Embedding
from activities.extraction import Extraction
from activities.flight import FlightRecorder
from activities.generation import Generation
from activities.housekeeping import Housekeeping
from activities.http_request import HttpRequests
from activities.imports import Imports
from activities.indexes import Indexes
from activities.ingestion import Ingestion
from activities.interceptor import ErrorInterceptor
from activities.mcp_call import McpCalls
from activities.pack_embedding import PackEmbedding
from activities.pack_reading import PackReading
from activities.recognition import Recognition
from activities.reranking import Reranking
from activities.retrieval import Retrieval
from activities.sql_query import SqlQueries
from activities.summaries import Summaries
from activities.titles import Titles
from activities.understanding import Understanding
from activities.unpacking import Unpacking
from adapters.clock import now
from adapters.postgres.deltas import Deltas
from adapters.sealing import connection_sealer
from adapters.tools.http import HttpCaller
from adapters.tools.mcp import McpCaller
from adapters.wiring import Adapters, admission_of, archive_limits, extraction_limits, sql_runner
from domain.steps import STEPS, Queue

CAPABILITIES = (
    Ingestion, Extraction, Recognition, Chunking, Embedding, Conversation, Summaries, Titles, Retrieval, Reranking, Generation, Agent,
    DocumentSearch, SqlQueries, HttpRequests, Consultations, McpCalls,
    Crawling, Deletion,
    Housekeeping, Indexes,
    Imports, PackReading, PackEmbedding, Understanding, Unpacking,
)  # fmt: skip


def activities_of(adapters: Adapters, queue: Queue) -> list[Callable[..., Any]]:
    """Build the activities that a worker of this queue serves."""
    settings, engine, blobs = adapters.settings, adapters.engine, adapters.blobs
    sizes = Sizes(settings.chunk_characters, settings.chunk_overlap)
    sealer, mcp = connection_sealer(settings), McpCaller(allowed=settings.networks)
    understanding, titles = Understanding(engine, adapters.generator, now), Titles(engine, adapters.generator, now)
    deltas, catalogues, silence = Deltas(engine), Catalogues(engine, mcp, sealer, now), settings.model_timeout
    built: Sequence[object] = (
        Ingestion(engine, blobs, admission_of(adapters), now),
        Extraction(engine, blobs, adapters.extractor, extraction_limits(settings), now, adapters.recognizer),
        Recognition(engine, blobs, adapters.extractor, adapters.recognizer, extraction_limits(settings), now),
        Chunking(engine, blobs, adapters.embedder, sizes, now),
        Embedding(engine, blobs, adapters.embedder, now),
        Conversation(engine, now, adapters.generator.completes_with),
        Summaries(engine, adapters.generator, now),
        titles,
        understanding,
        Retrieval(engine, adapters.embedder, understanding, adapters.generator.completes_with),
        Reranking(engine, adapters.generator, now),
        Generation(engine, deltas, adapters.generator, now, silence=silence, titles=titles),
        Agent(engine, deltas, adapters.generator, catalogues, now, silence=silence),
        DocumentSearch(engine, adapters.embedder),
        Consultations(engine),
        SqlQueries(engine, sql_runner(settings), sealer),
        HttpRequests(engine, HttpCaller(allowed=settings.networks), sealer),
        McpCalls(engine, mcp, sealer),
        Crawling(
            engine,
            blobs,
            adapters.fetcher,
            adapters.temporal,
            now,
            delay=timedelta(seconds=settings.crawl_delay_seconds),
        ),
        Deletion(engine, blobs, adapters.temporal, now),
        Housekeeping(
            engine,
            blobs,
            adapters.temporal,
            now,
            cap=settings.owner_running_documents,
            index_chunks=settings.index_chunks,
        ),
        Indexes(engine, now, threshold=settings.index_chunks, memory_bytes=settings.index_memory_bytes),
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
