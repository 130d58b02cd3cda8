"""What a PDF of 300 pages leaves in Temporal, with the real steps, the real reader and the real servers."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.worker import Worker

from activities.extraction import Extraction
from activities.flight import FlightRecorder
from activities.interceptor import ErrorInterceptor
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.extraction.extractor import SubprocessExtractor
from adapters.postgres import tables
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import start_ingestion
from domain import runs
from domain.blobs import source_key
from domain.ports import ExtractionLimits
from domain.steps import Queue
from tests.activities.ingestion_steps import Bench, PageExtractor
from tests.fakes import WordEmbedder
from tests.pdf_files import a_pdf, write
from tests.rows import a_document, a_home, count
from tests.servers import TemporalServer
from workflows.ingestion import IngestDocument
from workflows.sandbox import workflow_runner

SECRET = "heliotrope"
PAGES = 300


def a_page(number: int) -> str:
    """Like no other: a text that comes twice is embedded once."""
    line = f"A line of page {number} as wide as paper is, and after it comes another one of its kind."
    return "\n".join([f"{SECRET} {number}.", *[line] * 25])


async def test_300_pages_take_40_events_and_8_kb_and_none_of_their_content(
    engine: AsyncEngine, dev_server: TemporalServer, tmp_path: Path
) -> None:
    ref = await a_document(engine, await a_home(engine), status="pending", ingestion="pending")
    bench = Bench(
        engine,
        FolderBlobStore(tmp_path / "blobs"),
        PageExtractor([]),
        WordEmbedder(batch_size=100),
        ref,
        characters=1000,
    )
    await bench.set(format="pdf")
    pdf = write(tmp_path / "long.pdf", a_pdf([a_page(number) for number in range(PAGES)]))
    await bench.blobs.put_file(source_key(ref.document_id, ref.ingestion_id), pdf)
    client = await dev_server.client()
    await ensure_search_attributes(client)
    steps: dict[Queue, list[Callable[..., Any]]] = {
        Queue.CHAT: [bench.ingestion.begin, bench.chunking.chunk, bench.ingestion.publish],
        Queue.MODELS: [bench.embedding.embed],
    }
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(SubprocessExtractor())
        steps[Queue.INGEST_CPU] = [Extraction(engine, bench.blobs, reader, ExtractionLimits(), now).extract]
        for queue, activities in steps.items():
            worker = Worker(
                client,
                task_queue=queue,
                workflows=[IngestDocument] if queue is Queue.CHAT else [],
                activities=activities,
                interceptors=[ErrorInterceptor(), FlightRecorder(engine, now)],
                workflow_runner=workflow_runner(),
            )
            await stack.enter_async_context(worker)
        assert await start_ingestion(client, ref)
        handle = client.get_workflow_handle(runs.ingestion_run(ref.document_id))
        await handle.result()
    history = await handle.fetch_history()
    document, row = await bench.document(), await bench.row()
    assert (document.status, document.page_count) == ("ready", PAGES)
    assert 600 <= await count(engine, tables.chunks) == row.planned_chunks <= 1100
    assert row.model_calls == bench.embedder.calls == -(-row.planned_chunks // 100)
    assert len(history.events) <= 40
    assert sum(event.ByteSize() for event in history.events) <= 8_000
    assert all(SECRET.encode() not in event.SerializeToString() for event in history.events)
