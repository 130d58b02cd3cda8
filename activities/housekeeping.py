"""Housekeeping: accepted work is started, rows that lost their run are closed, old things expire."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client

from activities.heartbeat import heartbeats
from activities.imports import end_import
from adapters.postgres import admission, approvals, crawl_housekeeping, expiry, housekeeping, indexes, lost_imports
from adapters.postgres.engine import transaction
from adapters.temporal.runs import (
    call_ingestion,
    cancel_run,
    is_open,
    open_runs,
    start_crawl,
    start_deletion,
    start_import,
    start_indexing,
    start_ingestion,
    start_turn,
    wake_turn,
)
from domain import blobs, runs, steps
from domain.ports import BlobStore
from domain.steps import EndImport, HousekeepingTick, Swept

log = structlog.get_logger(__name__)

RowT = TypeVar("RowT")

# A tick's share. What is over is the next tick's, seconds later.
STARTS = 200
CLOSINGS = 200
EXPIRY_BATCH = 5000
CHUNK_BATCH = 2000

KEPT = timedelta(hours=1)  # without use: a version's row comes right after its bytes, and runs clear away themselves
# Without a document: the rows of an import come after the last byte of thousands of files, over a slow line hours later.
UPLOAD_KEPT = timedelta(hours=24)

# Sizes are added up from all documents, so a process looks once a minute; what could not be indexed waits an hour.
INDEXES_SEEN = timedelta(minutes=1)
INDEX_GIVEN_UP = timedelta(hours=1)
_STARTS_AT_ONCE = 10


class Housekeeping:
    """The steps of the Schedule. Each may run twice, beside itself, and beside whatever it puts right."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        temporal: Client,
        now: Callable[[], datetime],
        *,
        cap: int | None = None,
        index_chunks: int = 5_000,
    ) -> None:
        """`cap` is how many of an owner's documents may be worked on at once; None is no limit.

        `index_chunks` is the number of chunks from which on a bot has an index.
        """
        self._engine = engine
        self._blobs = blob_store
        self._temporal = temporal
        self._now = now
        self._cap = cap
        self._index_chunks = index_chunks
        self._collected_at: datetime | None = None
        self._indexes_seen_at: datetime | None = None

    @activity.defn(name=steps.SWEEP_PENDING.name)
    async def sweep_pending(self, tick: HousekeepingTick) -> Swept:
        """Start what was accepted and has no run, where its owner's turn has come; wake what waits for that turn.

        What has a run is left to it, an older version's included.
        """
        async with heartbeats():
            before = self._now() - tick.grace
            async with transaction(self._engine) as connection:
                deletions = await housekeeping.pending_deletions(connection, before=before, limit=STARTS)
                turns = await housekeeping.pending_turns(connection, before=before, limit=STARTS)
                unheard = await approvals.unheard(connection, before=before, limit=STARTS)
                waiting = await admission.forgotten(connection, cap=self._cap, before=before, limit=STARTS)
                crawls = await crawl_housekeeping.pending_crawls(connection, before=before, limit=STARTS)
                unwanted = await housekeeping.unwanted_runs(connection, before=before, limit=STARTS)
                unwanted_crawls = await crawl_housekeeping.unwanted_crawls(connection, before=before, limit=STARTS)
                imports = await lost_imports.pending(connection, before=before, limit=STARTS)
                unwanted_imports = await lost_imports.unwanted(connection, before=before, limit=STARTS)
                strays = await lost_imports.release_strays(connection, before=before, limit=STARTS, now=self._now())
            for conversation in unheard:
                await wake_turn(self._temporal, conversation)
            for import_id, run_id in unwanted_imports:
                await cancel_run(self._temporal, runs.import_run(import_id), run_id=run_id)
            for run in unwanted:
                await cancel_run(self._temporal, runs.ingestion_run(run.document_id), run_id=run.run_id)
            for crawl in unwanted_crawls:
                await cancel_run(self._temporal, runs.crawl_run(crawl), run_id=None)  # the id is this crawl's alone
            if unwanted:
                async with transaction(self._engine) as connection:
                    await housekeeping.forget_unwanted(connection, unwanted)
            started = await _at_once(
                [
                    *(start_deletion(self._temporal, ref) for ref in deletions),
                    *(start_turn(self._temporal, ref) for ref in turns),
                    *(call_ingestion(self._temporal, each) for each in waiting),
                    *(start_ingestion(self._temporal, ref) for ref in strays),
                    *(start_import(self._temporal, ref) for ref in imports),
                    *(start_crawl(self._temporal, ref) for ref in crawls),
                ]
            )
            if started:
                log.warning("pending_started", count=started)
            return Swept(count=started + await self._look_after_indexes(before))

    @activity.defn(name=steps.CLOSE_ORPHANS.name)
    async def close_orphans(self, tick: HousekeepingTick) -> Swept:
        """Fail documents and turns whose run was terminated or lost, so that a person can press retry."""
        async with heartbeats():
            before = self._now() - tick.grace
            async with transaction(self._engine) as connection:
                documents = await housekeeping.unfinished_documents(connection, before=before)
                turns = await housekeeping.unfinished_turns(connection, before=before)
                crawls = await crawl_housekeeping.unfinished_crawls(connection, before=before)
                imports = await lost_imports.at_work(connection, before=before)
            count = await self._close_documents(documents) + await self._close_turns(turns)
            count += await self._close_crawls(crawls)
            count += await self._close_imports(imports)
            if count:
                log.warning("orphans_closed", count=count)
            return Swept(count=count)

    @activity.defn(name=steps.EXPIRE.name)
    async def expire(self, _tick: HousekeepingTick) -> Swept:
        """Delete what nobody will ask for again, in batches."""
        async with heartbeats():
            count = 0
            for statement, kept in expiry.EXPIRIES:
                deleted = EXPIRY_BATCH
                while deleted >= EXPIRY_BATCH:
                    async with transaction(self._engine) as connection:
                        before = self._now() - kept
                        deleted = await expiry.expire(connection, statement, before=before, limit=EXPIRY_BATCH)
                    count += deleted
            return Swept(count=count + await self._collect())

    async def _look_after_indexes(self, before: datetime) -> int:
        """Start indexing bots that grew, dropping indexes of those that shrank, and what is left of either."""
        now = self._now()
        if self._indexes_seen_at is not None and now - self._indexes_seen_at < INDEXES_SEEN:
            return 0
        self._indexes_seen_at = now
        async with transaction(self._engine) as connection:
            found = await indexes.to_look_after(
                connection,
                threshold=self._index_chunks,
                before=before,
                given_up_before=now - INDEX_GIVEN_UP,
                limit=STARTS,
            )
        return await _at_once(start_indexing(self._temporal, ref) for ref in found)

    async def _collect(self) -> int:
        """Delete what nothing has or needs. A look at every folder takes its time: a process takes one an hour."""
        now = self._now()
        if self._collected_at is not None and now - self._collected_at < KEPT:
            return 0
        count = await self._collect_chunks(now - KEPT)
        count += await self._collect_blobs(now - KEPT, uploaded_before=now - UPLOAD_KEPT)
        count += await self._collect_imports(now - KEPT)
        count += await self._collect_files(now - UPLOAD_KEPT)
        self._collected_at = now
        return count

    async def _collect_chunks(self, before: datetime) -> int:
        """Delete the chunks of versions that have no use any more, and whose run did not come to do it."""
        count = 0
        async with transaction(self._engine) as connection:
            versions = await expiry.useless_chunks(connection, before=before, limit=EXPIRY_BATCH)
        for version in versions:
            deleted = CHUNK_BATCH
            while deleted >= CHUNK_BATCH:
                async with transaction(self._engine) as connection:
                    deleted = await expiry.delete_useless(connection, version, limit=CHUNK_BATCH)
                count += deleted
        return count

    async def _collect_blobs(self, before: datetime, *, uploaded_before: datetime) -> int:
        """Delete blobs that nothing has: an upload that was not accepted, a writer that was too late."""
        count = await self._blobs.drop_unfinished(before)
        folders = [folder async for folder in self._blobs.folders(blobs.DOCUMENTS)]
        for batch in _batches(folders, EXPIRY_BATCH):
            changed = dict(batch)
            async with transaction(self._engine) as connection:
                unowned = await expiry.without_document(connection, list(changed))
            for document in unowned:
                if changed.pop(str(document)) < uploaded_before:
                    count += (await self._blobs.delete_prefix(blobs.document_prefix(document))).blobs
            count += await self._collect_versions(list(changed), before=before)
        return count

    async def _collect_imports(self, before: datetime) -> int:
        """Delete archives that were not accepted, and plans of packs whose import has ended."""
        count = 0
        folders = [folder async for folder in self._blobs.folders(blobs.IMPORTS)]
        for batch in _batches(folders, EXPIRY_BATCH):
            async with transaction(self._engine) as connection:
                names = [name for name, changed in batch if changed < before]
                gone = await expiry.without_import(connection, names)
            for import_id in gone:
                count += (await self._blobs.delete_prefix(blobs.import_prefix(import_id))).blobs
        return count

    async def _collect_files(self, before: datetime) -> int:
        """Delete the bytes of files that were not accepted, have expired, or whose deletion broke off."""
        count = 0
        folders = [folder async for folder in self._blobs.folders(blobs.FILES)]
        for batch in _batches(folders, EXPIRY_BATCH):
            async with transaction(self._engine) as connection:
                gone = await expiry.without_file(connection, [name for name, changed in batch if changed < before])
            for file_id in gone:
                count += (await self._blobs.delete_prefix(blobs.file_prefix(file_id))).blobs
        return count

    async def _collect_versions(self, documents: Sequence[str], *, before: datetime) -> int:
        """Delete the blobs of versions that were never accepted, or have no use any more."""
        homes: dict[str, str] = {}
        for document in documents:
            prefix = f"{blobs.DOCUMENTS}{document}/"
            homes |= {name: prefix async for name, changed in self._blobs.folders(prefix) if changed < before}
        count = 0
        for names in _batches(list(homes), EXPIRY_BATCH):
            async with transaction(self._engine) as connection:
                unowned = await expiry.without_use(connection, names, before=before)
            for version in unowned:
                count += (await self._blobs.delete_prefix(f"{homes[str(version)]}{version}/")).blobs
        return count

    async def _close_documents(self, seen: Iterable[housekeeping.UnfinishedDocument]) -> int:
        lost = await self._without_run(seen, runs.INGEST_DOCUMENT, lambda row: runs.ingestion_run(row.ref.document_id))
        closed = 0
        for row in lost:
            async with transaction(self._engine) as connection:
                closed += await housekeeping.lose_document(connection, row, now=self._now())
        return closed

    async def _close_turns(self, seen: Iterable[housekeeping.UnfinishedTurn]) -> int:
        lost = await self._without_run(seen, runs.ANSWER_TURN, lambda row: runs.turn_run(row.ref.conversation_id))
        closed = 0
        for row in lost:
            async with transaction(self._engine) as connection:
                closed += await housekeeping.lose_turn(connection, row, now=self._now())
        return closed

    async def _close_crawls(self, seen: Iterable[crawl_housekeeping.UnfinishedCrawl]) -> int:
        lost = await self._without_run(seen, runs.CRAWL_SITE, lambda row: runs.crawl_run(row.ref.crawl_id))
        closed = 0
        for row in lost:
            async with transaction(self._engine) as connection:
                closed += await crawl_housekeeping.lose_crawl(connection, row, now=self._now())
        return closed

    async def _close_imports(self, seen: Iterable[EndImport]) -> int:
        lost = await self._without_run(seen, runs.IMPORT_DOCUMENTS, lambda how: runs.import_run(how.ref.import_id))
        for how in lost:
            await end_import(self._engine, how, self._now, batch=CLOSINGS)
        return len(lost)

    async def _without_run(self, rows: Iterable[RowT], workflow: str, run_of: Callable[[RowT], str]) -> list[RowT]:
        """Keep the rows whose run is not open. One listing spares a question for each that is; it may
        lag behind, so what it does not name is asked for by id."""
        candidates = list(rows)
        if not candidates:
            return []
        listed = await open_runs(self._temporal, workflow)
        unlisted = [row for row in candidates if run_of(row) not in listed][:CLOSINGS]
        return [row for row in unlisted if not await is_open(self._temporal, run_of(row))]


async def _at_once(starts: Iterable[Awaitable[bool]]) -> int:
    """Await all, some at a time; answers how many were started."""
    slots = asyncio.Semaphore(_STARTS_AT_ONCE)

    async def one(start: Awaitable[bool]) -> bool:
        async with slots:
            return await start

    return sum(await asyncio.gather(*(one(start) for start in starts)))


def _batches(items: Sequence[RowT], size: int) -> Iterator[Sequence[RowT]]:
    return (items[start : start + size] for start in range(0, len(items), size))
