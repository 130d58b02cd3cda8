"""The short steps of an import: take it up, choose packs, hand documents on, see what is left, end it."""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError

from activities.heartbeat import heartbeats
from adapters.ids import new_id
from adapters.postgres import document_requests, imports, packs
from adapters.postgres.engine import transaction
from adapters.temporal.ingestions import ask_parked
from adapters.temporal.runs import cancel_run, start_ingestion
from domain import blobs, runs, steps
from domain.documents import IngestionRef
from domain.errors import NotFound, StateConflict
from domain.ids import DocumentId
from domain.ports import BlobStore
from domain.steps import Claimed, Done, EndImport, ImportBegun, ImportRef, ImportSettled, PackRef

log = structlog.get_logger(__name__)

# Some 10 ms a transaction: nobody waits long for our locks, and a crash repeats little.
BATCH = 200


class Imports:
    """Milliseconds of work each, or batches of them; each may run twice."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        temporal: Client,
        now: Callable[[], datetime],
        *,
        batch: int = BATCH,
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._temporal = temporal
        self._now = now
        self._batch = batch

    @activity.defn(name=steps.BEGIN_IMPORT.name)
    async def begin(self, ref: ImportRef) -> ImportBegun:
        """Take the import up, and name the run that has it."""
        async with transaction(self._engine) as connection:
            return await imports.begin(connection, ref, run_id=_run_id(), now=self._now())

    @activity.defn(name=steps.CLAIM_PACK.name)
    async def claim(self, pack: PackRef) -> Claimed:
        """Choose documents for the pack; the large ones among them go on alone."""
        async with transaction(self._engine) as connection:
            claimed, alone = await packs.claim(connection, pack, run_id=_run_id(), now=self._now())
        await start_alone(self._temporal, alone)
        return claimed

    @activity.defn(name=steps.RELEASE_PACK.name)
    async def release(self, pack: PackRef) -> Done:
        """Give what is left of a pack that failed to runs of their own, which find out whose fault it was."""
        async with transaction(self._engine) as connection:
            left = [each.ref.ingestion_id for each in await packs.documents_of(connection, pack)]
            released = await packs.release(connection, pack.ref, left, now=self._now())
        await start_alone(self._temporal, released)
        await self._blobs.delete_prefix(blobs.pack_prefix(pack.ref.import_id, pack.pack))
        return Done()

    @activity.defn(name=steps.SETTLE_IMPORT.name)
    async def settle(self, ref: ImportRef) -> ImportSettled:
        """Complete the import if nothing of it waits or runs."""
        async with transaction(self._engine) as connection:
            settled = await imports.settle(connection, ref, now=self._now())
        if settled.done:
            await self._blobs.delete_prefix(blobs.packs_prefix(ref.import_id))
        return settled

    @activity.defn(name=steps.RETRY_PARKED.name)
    async def retry_parked(self, ref: ImportRef) -> Done:
        """Tell the runs of documents that wait for a person to try again; one that moved on is left alone."""
        after: DocumentId | None = None
        async with heartbeats():
            while True:
                async with transaction(self._engine) as connection:
                    found = await imports.parked(connection, ref, after=after, limit=self._batch)
                for document in found:
                    try:
                        await ask_parked(self._temporal, document, runs.RETRY_UPDATE, update_id=new_id())
                    except StateConflict:
                        log.info("parked_moved_on", document_id=str(document))
                if len(found) < self._batch:
                    return Done()
                after = found[-1]

    @activity.defn(name=steps.END_IMPORT.name)
    async def end(self, how: EndImport) -> Done:
        """Close what is not finished, some at a time, then the import."""
        async with heartbeats():
            if how.cancelled:
                await self._cancel_own_runs(how.ref)
            await end_import(self._engine, how, self._now, batch=self._batch)
            await self._blobs.delete_prefix(blobs.packs_prefix(how.ref.import_id))
        log.info("import_ended", import_id=str(how.ref.import_id), code=how.code)
        return Done()

    async def _cancel_own_runs(self, ref: ImportRef) -> None:
        after: DocumentId | None = None
        while True:
            async with transaction(self._engine) as connection:
                found = await imports.own_runs(connection, ref, after=after, limit=self._batch)
            for row in found:
                await self._cancel_one(ref, row)
            if len(found) < self._batch:
                return
            after = DocumentId(found[-1].id)

    async def _cancel_one(self, ref: ImportRef, row: Row[tuple[object, ...]]) -> None:
        document = DocumentId(row.id)
        try:
            async with transaction(self._engine) as connection:
                asked = await document_requests.cancel(connection, ref.owner_id, document, now=self._now())
        except (StateConflict, NotFound):  # it ended just now, or is being deleted
            return
        if asked.cancel_run is not None:
            await cancel_run(self._temporal, runs.ingestion_run(document), run_id=asked.cancel_run)


async def end_import(engine: AsyncEngine, how: EndImport, now: Callable[[], datetime], *, batch: int) -> None:
    """Close what waits for a pack or is in one, some at a time, then the import itself."""
    ended = False
    while not ended:
        closed = batch
        while closed >= batch:
            async with transaction(engine) as connection:
                if await imports.hold(connection, how.ref) is None:
                    return
                closed = await imports.close_packed(connection, how, limit=batch, now=now())
        async with transaction(engine) as connection:
            ended = await imports.end(connection, how, now=now())


async def start_alone(client: Client, refs: Sequence[IngestionRef]) -> None:
    """Start runs after the commit that released their documents; the sweeper starts what is not started here."""
    try:
        for ref in refs:
            await start_ingestion(client, ref)
    except RPCError as error:
        log.warning("start_left_to_sweeper", error=type(error).__name__)


def _run_id() -> str:
    return activity.info().workflow_run_id or ""
