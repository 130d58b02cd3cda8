"""Opens everything once and yields one frozen object; the mains hand out slices of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.admission import Admission
from adapters.archives import ArchiveLimits
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.extraction.extractor import SubprocessExtractor
from adapters.models.budgeted import budgeted
from adapters.models.providers import open_models
from adapters.postgres.engine import open_engine
from adapters.postgres.feeds import Feeds
from adapters.postgres.notifications import Notifications
from adapters.postgres.tracing import trace_statements
from adapters.settings import Settings
from adapters.telemetry import Telemetry, open_telemetry
from adapters.temporal.client import connect
from adapters.temporal.runs import call_ingestion
from adapters.tools.sql import SqlRunner
from adapters.web.fetcher import FetchLimits, WebFetcher
from domain.ports import BlobStore, Embedder, ExtractionLimits, Fetcher, Generator, TextRecognizer


@dataclass(frozen=True, slots=True)
class Adapters:
    """Everything that a process talks to."""

    settings: Settings
    engine: AsyncEngine
    blobs: BlobStore
    temporal: Client
    embedder: Embedder
    generator: Generator
    extractor: SubprocessExtractor
    fetcher: Fetcher
    notifications: Notifications
    feeds: Feeds
    telemetry: Telemetry
    recognizer: TextRecognizer | None = None


@asynccontextmanager
async def open_adapters(
    settings: Settings, *, service: str, temporal: Client | None = None, telemetry: Telemetry | None = None
) -> AsyncIterator[Adapters]:
    """Open for the process `service`; on leaving close in the reverse order.

    A test may bring its own Temporal client or telemetry. The API connects to Temporal on its
    first call, so that it accepts documents while Temporal is down.
    """
    async with AsyncExitStack() as stack:
        telemetry = telemetry or open_telemetry(service)
        stack.callback(telemetry.shutdown)
        engine = open_engine(
            settings.database_url, pool_size=settings.database_pool, application=service, probe=service != "worker"
        )
        if telemetry.tracer:
            trace_statements(engine, telemetry.tracer)
        stack.push_async_callback(engine.dispose)
        client = temporal or await connect(telemetry.interceptors, lazy=service == "api")
        models = budgeted(await stack.enter_async_context(open_models(settings)), engine, settings, now)
        extractor = SubprocessExtractor()
        stack.push_async_callback(extractor.aclose)
        fetcher = WebFetcher(fetch_limits(settings), allowed=settings.networks)
        stack.push_async_callback(fetcher.aclose)
        notifications = Notifications(settings.database_url)
        stack.push_async_callback(notifications.close)
        yield Adapters(
            settings=settings,
            engine=engine,
            blobs=FolderBlobStore(settings.blob_dir),
            temporal=client,
            embedder=models.embedder,
            generator=models.generator,
            recognizer=models.recognizer,
            extractor=extractor,
            fetcher=fetcher,
            notifications=notifications,
            feeds=Feeds(engine),
            telemetry=telemetry,
        )


def admission_of(adapters: Adapters) -> Admission:
    """Give what lets an owner's documents in."""
    call = partial(call_ingestion, adapters.temporal)
    return Admission(adapters.engine, call, cap=adapters.settings.owner_running_documents)


def extraction_limits(settings: Settings) -> ExtractionLimits:
    """Give the extraction's slice of the settings."""
    return ExtractionLimits(
        memory_bytes=settings.extraction_memory_bytes,
        cpu_seconds=settings.extraction_cpu_seconds,
        wall_seconds=settings.extraction_wall_seconds,
        pages=settings.extraction_pages,
        output_bytes=settings.extraction_output_bytes,
        archive_entries=settings.extraction_archive_entries,
        archive_bytes=settings.extraction_archive_bytes,
        archive_ratio=settings.extraction_archive_ratio,
    )


def fetch_limits(settings: Settings) -> FetchLimits:
    """Give the fetcher's slice of the settings: a page may have as many bytes as an upload."""
    return FetchLimits(bytes=settings.max_upload_bytes, seconds=settings.fetch_seconds)


def archive_limits(settings: Settings) -> ArchiveLimits:
    """Give the imports' slice of the settings."""
    return ArchiveLimits(
        files=settings.import_max_files, file_bytes=settings.max_upload_bytes, total_bytes=settings.import_max_bytes
    )


def sql_runner(settings: Settings) -> SqlRunner:
    """Give what runs SQL on databases that owners register."""
    return SqlRunner(own_database=settings.database_url, allowed=settings.networks)
