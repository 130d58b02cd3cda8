"""An import on its way through the steps: real Postgres, real blobs, a real Temporal server to start runs on."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.chunking import Chunking, Sizes
from activities.imports import Imports
from activities.pack_embedding import PackEmbedding
from activities.pack_reading import PackReading
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import import_items, imports, tables
from adapters.postgres.engine import transaction
from adapters.postgres.import_items import Entry
from domain import blobs as names
from domain.chunks import Page
from domain.documents import Format
from domain.errors import CorruptFile, DomainError, NoText
from domain.ids import ImportId
from domain.imports import PACKED_BYTES, Taken
from domain.ports import ExtractedText, ExtractionJob, ExtractionLimits
from domain.steps import Claimed, EmbedPack, ImportRef, PackPlanned, PackPublished, PackRef
from tests.activities.ingestion_steps import this_info
from tests.fakes import WordEmbedder
from tests.rows import Home, count, row_of

BATCH = 4


class LineExtractor:
    """Keeps the extractor's contract: one page a line of the source; some words make it fail."""

    def __init__(self) -> None:
        self.runs = 0

    async def extract_together(self, jobs: Sequence[ExtractionJob]) -> list[ExtractedText | DomainError | None]:
        self.runs += 1
        results: list[ExtractedText | DomainError | None] = []
        for job in jobs:
            text = await asyncio.to_thread(job.source.read_text)
            if "deadly" in text:
                break
            results.append(self._read(job, text))
        return results + [None] * (len(jobs) - len(results))

    def _read(self, job: ExtractionJob, text: str) -> ExtractedText | DomainError:
        if "corrupt" in text:
            return CorruptFile("The file is damaged.")
        if "scan" in text:
            return NoText("The file has no text.")
        pages = text.split("\n")
        job.target.write_text("".join(Page(n, page).to_line() + "\n" for n, page in enumerate(pages, start=1)))
        return ExtractedText(pages=len(pages), characters=len(text), encoding="utf-8")


@dataclasses.dataclass
class PackBench:
    """The steps of an import and what they work on."""

    engine: AsyncEngine
    blobs: FolderBlobStore
    temporal: Client
    home: Home
    embedder: WordEmbedder
    extractor: LineExtractor
    ref: ImportRef = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.ref = ImportRef(
            owner_id=self.home.owner_id, bot_id=self.home.bot_id, import_id=ImportId(new_id()), epoch=1
        )

    @property
    def imports(self) -> Imports:
        return Imports(self.engine, self.blobs, self.temporal, now, batch=3)

    @property
    def reading(self) -> PackReading:
        return PackReading(
            self.engine,
            self.blobs,
            self.extractor,
            self.embedder,
            self.temporal,
            ExtractionLimits(),
            Sizes(100, 0),
            now,
        )

    @property
    def embedding(self) -> PackEmbedding:
        return PackEmbedding(self.engine, self.blobs, self.embedder, self.temporal, now)

    @property
    def chunking(self) -> Chunking:
        """What a run of its own does."""
        return Chunking(self.engine, self.blobs, self.embedder, Sizes(100, 0), now)

    async def run(self, step: Callable[..., Any], given: Any, *, attempt: int = 1, run_id: str = "run-1") -> Any:
        """Run a step as an attempt of the same activity."""
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(this_info(step, attempt), workflow_run_id=run_id)
        return await environment.run(step, given)

    async def accept(self, *texts: str, size: int | None = None) -> list[Entry]:
        """Accept files of these texts, and take the import up."""
        entries = [
            Entry.at(
                position,
                Taken(f"{position}.txt", size or len(text), f"sha of {text}", Format.PDF, "application/pdf"),
            )
            for position, text in enumerate(texts)
        ]
        for entry, text in zip(entries, texts, strict=True):
            await self.blobs.put(names.source_key(entry.document_id, entry.ingestion_id), _stream(text))
        async with transaction(self.engine) as connection:
            await imports.add(connection, self.ref, name="Import", archive=False)
            await import_items.register(connection, self.ref, entries)
        await self.run(self.imports.begin, self.ref)
        return entries

    async def claim(self, pack: int = 1, **how: Any) -> Claimed:
        claimed: Claimed = await self.run(self.imports.claim, self.pack(pack), **how)
        return claimed

    async def read(self, pack: int = 1, **how: Any) -> PackPlanned:
        planned: PackPlanned = await self.run(self.reading.extract_pack, self.pack(pack), **how)
        return planned

    async def embed(self, planned: PackPlanned, pack: int = 1, **how: Any) -> PackPublished:
        given = EmbedPack(ref=self.ref, pack=pack, plan=planned.plan)
        published: PackPublished = await self.run(self.embedding.embed_pack, given, **how)
        return published

    def pack(self, number: int = 1) -> PackRef:
        return PackRef(ref=self.ref, pack=number)

    async def document(self, entry: Entry) -> Any:
        return await row_of(self.engine, tables.documents, entry.document_id)

    async def ingestion(self, entry: Entry) -> Any:
        return await row_of(self.engine, tables.ingestions, entry.ingestion_id)

    async def row(self) -> Any:
        return await row_of(self.engine, tables.imports, self.ref.import_id)

    async def chunks(self, entry: Entry) -> int:
        return await count(self.engine, tables.chunks, tables.chunks.c.ingestion_id == entry.ingestion_id)

    async def statuses(self, entries: Sequence[Entry]) -> list[str]:
        return [(await self.document(entry)).status for entry in entries]

    async def steps(self, entry: Entry) -> list[Any]:
        """The flight record of one document."""
        query = select(tables.ingestion_steps).where(tables.ingestion_steps.c.ingestion_id == entry.ingestion_id)
        async with self.engine.connect() as connection:
            return list((await connection.execute(query.order_by("first_started_at"))).all())

    async def whole(self, entries: Sequence[Entry]) -> None:
        """Assert that every document is published once, with all of its chunks and no other."""
        for entry in entries:
            document, ingestion = await self.document(entry), await self.ingestion(entry)
            assert (document.status, document.active_ingestion_id) == ("ready", entry.ingestion_id)
            assert ingestion.status == "published"
            stored = await self.chunks(entry)
            assert stored == ingestion.stored_chunks == ingestion.planned_chunks == document.chunk_count > 0


def large() -> int:
    """More bytes than a packed document has."""
    return PACKED_BYTES + 1


async def _stream(text: str) -> AsyncIterator[bytes]:
    yield text.encode()
