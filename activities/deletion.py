"""Deleting a document, or a bot with all that is in it: stop what runs, then purge in small transactions."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from activities.heartbeat import heartbeats
from adapters.postgres import crawl_housekeeping, deletions, indexes, keyword_segments
from adapters.postgres.engine import transaction
from adapters.temporal.runs import cancel_run, is_open
from domain import blobs, runs, steps
from domain.ids import DocumentId
from domain.ports import BlobStore, Removed
from domain.steps import DeletionRef, Done, Purged

log = structlog.get_logger(__name__)

# A cancelled run closes within seconds, and within two heartbeats of 30 s where its worker died.
PATIENCE = timedelta(seconds=60)
# Some 10 ms a transaction: nobody waits long for our locks, and a crash repeats little.
CHUNK_BATCH = 2000
# What one purge of a bot takes on: far below its timeout, few transactions and events for thousands of documents.
BOT_DOCUMENTS = 100
BOT_CONVERSATIONS = 200
BOT_CRAWLS = 20


class Deletion:
    """The steps of `DeleteDocument` and `DeleteBot`. Each may run twice, or beside itself."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        temporal: Client,
        now: Callable[[], datetime],
        *,
        patience: timedelta = PATIENCE,
        chunk_batch: int = CHUNK_BATCH,
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._temporal = temporal
        self._now = now
        self._patience = patience
        self._chunk_batch = chunk_batch

    @activity.defn(name=steps.STOP_INGESTION.name)
    async def stop_ingestion(self, ref: DeletionRef) -> Done:
        """Cancel the document's run and wait until it has closed; terminate one that does not."""
        if ref.document_id is not None:
            async with heartbeats():
                await self._stop([runs.ingestion_run(ref.document_id)])
        return Done()

    @activity.defn(name=steps.PURGE_DOCUMENT.name)
    async def purge_document(self, ref: DeletionRef) -> Purged:
        """Delete all that there is of a document, and date the receipt."""
        async with heartbeats():
            async with transaction(self._engine) as connection:
                await deletions.begin(connection, ref, now=self._now())
            if ref.document_id is not None:
                await self._purge(ref, [ref.document_id])
            return await self._close(ref)

    @activity.defn(name=steps.PURGE_BOT.name)
    async def purge_bot(self, ref: DeletionRef) -> Purged:
        """Delete some of a bot: documents first, then conversations, and the bot when nothing is left."""
        async with heartbeats():
            async with transaction(self._engine) as connection:
                await deletions.begin(connection, ref, now=self._now())
                await deletions.hide_bot(connection, ref.bot_id, now=self._now())
            await self._release_index(ref)
            # What runs a crawl would add documents to those that are counted here.
            if (
                await self._end_imports(ref)
                or await self._purge_crawls(ref)
                or await self._purge_documents(ref)
                or await self._purge_conversations(ref)
                or not await self._drop(ref)
            ):
                async with transaction(self._engine) as connection:
                    return (await deletions.receipt(connection, ref)).model_copy(update={"more": True})
            return await self._close(ref)

    async def _release_index(self, ref: DeletionRef) -> None:
        """Delete the bot's postings. Its vector index is dropped by a run of its own, which may wait for another's."""
        async with transaction(self._engine) as connection:
            retired = await indexes.retire(connection, ref.bot_id, now=self._now())
        if retired:
            await cancel_run(self._temporal, runs.index_run(ref.bot_id), run_id=None)
        while retired:
            async with transaction(self._engine) as connection:
                retired = await keyword_segments.drop_some(connection, ref.bot_id)

    async def _purge_crawls(self, ref: DeletionRef) -> bool:
        async with transaction(self._engine) as connection:
            crawls = await crawl_housekeeping.crawls_of(connection, ref.bot_id, limit=BOT_CRAWLS)
        await self._stop([runs.crawl_run(crawl) for crawl in crawls])
        deleted = self._chunk_batch
        while crawls and deleted >= self._chunk_batch:
            async with transaction(self._engine) as connection:
                deleted = await crawl_housekeeping.delete_pages(connection, crawls, limit=self._chunk_batch)
        async with transaction(self._engine) as connection:
            await crawl_housekeeping.delete_crawls(connection, crawls)
        return bool(crawls)

    async def _end_imports(self, ref: DeletionRef) -> bool:
        """Stop the bot's imports, so that nothing more comes in, and drop what they keep for themselves."""
        async with transaction(self._engine) as connection:
            found = await deletions.imports_of(connection, ref.bot_id)
        await self._stop([runs.import_run(import_id) for import_id in found])
        for import_id in found:
            await self._blobs.delete_prefix(blobs.import_prefix(import_id))
            async with transaction(self._engine) as connection:
                await deletions.delete_import(connection, import_id)
        return bool(found)

    async def _purge_documents(self, ref: DeletionRef) -> bool:
        async with transaction(self._engine) as connection:
            documents = await deletions.documents_of(connection, ref.bot_id, limit=BOT_DOCUMENTS)
        if documents:
            await self._stop([runs.ingestion_run(document) for document in documents])
            await self._purge(ref, documents)
        return bool(documents)

    async def _purge_conversations(self, ref: DeletionRef) -> bool:
        async with transaction(self._engine) as connection:
            left, answering = await deletions.conversations_of(connection, ref.bot_id, limit=BOT_CONVERSATIONS)
        await self._stop([runs.turn_run(conversation) for conversation in answering])
        for conversation in left:
            async with transaction(self._engine) as connection:
                await deletions.delete_conversation(connection, ref, conversation)
        return bool(left)

    async def _drop(self, ref: DeletionRef) -> bool:
        async with transaction(self._engine) as connection:
            return await deletions.delete_bot(connection, ref.bot_id)

    async def _purge(self, ref: DeletionRef, documents: Sequence[DocumentId]) -> None:
        """Delete documents together. Their rows go last: while they are there, a purge knows that it has work to do."""
        async with transaction(self._engine) as connection:
            await deletions.fence_documents(connection, documents, now=self._now())
            await keyword_segments.drop_of_documents(connection, documents)
        deleted = limit = self._chunk_batch
        while deleted >= limit:
            async with transaction(self._engine) as connection:
                deleted = await deletions.delete_chunks(connection, ref, documents, limit=limit)
        deleted = limit
        while deleted >= limit:
            async with transaction(self._engine) as connection:
                deleted = await deletions.delete_passages(connection, documents, limit=limit)
        removed = Removed()
        for document in documents:
            removed += await self._blobs.delete_prefix(blobs.document_prefix(document))
        async with transaction(self._engine) as connection:
            await deletions.delete_documents(connection, ref, documents, removed)

    async def _close(self, ref: DeletionRef) -> Purged:
        async with transaction(self._engine) as connection:
            await deletions.close_receipt(connection, ref, now=self._now())
            purged = await deletions.receipt(connection, ref)
        log.info("purged", documents=purged.documents, chunks=purged.chunks)
        return purged

    async def _stop(self, workflow_ids: Sequence[str]) -> None:
        """Cancel runs and wait for their end. Fencing holds without it; waiting spares their compensations."""
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                await asyncio.gather(*(self._cancel_until_closed(run) for run in workflow_ids))
        except TimeoutError:
            for run in workflow_ids:
                await self._terminate(run)

    async def _cancel_until_closed(self, workflow_id: str) -> None:
        """A closing run may hand its id on to a newer version's, so look again after each end."""
        while await is_open(self._temporal, workflow_id):
            await cancel_run(self._temporal, workflow_id, run_id=None)  # whichever it is
            with suppress(WorkflowFailureError, WorkflowContinuedAsNewError):
                await self._temporal.get_workflow_handle(workflow_id).result(follow_runs=False)

    async def _terminate(self, workflow_id: str) -> None:
        try:
            await self._temporal.get_workflow_handle(workflow_id).terminate(
                reason="What it works on is being deleted, and it did not stop when it was cancelled."
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        else:
            log.warning("run_terminated", terminated=workflow_id)
