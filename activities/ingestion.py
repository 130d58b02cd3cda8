"""The short steps of an ingestion: take it up, publish it, ask a person, end it, clear away what it made."""

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.flight import this_attempt
from activities.heartbeat import heartbeats
from adapters.admission import Admission
from adapters.postgres import chunks, flight, ingestions
from adapters.postgres.engine import transaction
from domain import blobs, steps
from domain.documents import IngestionRef
from domain.ports import BlobStore
from domain.steps import Begun, Closed, CloseIngestion, Done, ParkIngestion

log = structlog.get_logger(__name__)

# Some 10 ms a transaction: nobody waits long for our locks, and a crash repeats little.
CHUNK_BATCH = 2000


class Ingestion:
    """Milliseconds of database work each; each may run twice."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        admission: Admission,
        now: Callable[[], datetime],
        *,
        chunk_batch: int = CHUNK_BATCH,
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._admission = admission
        self._now = now
        self._chunk_batch = chunk_batch

    @activity.defn(name=steps.BEGIN_INGESTION.name)
    async def begin(self, ref: IngestionRef) -> Begun:
        """Take the ingestion up, and name the run that has it, where there is room.

        Who finds none looks again when it stands in the line: who ended before that did not see it there.
        """
        run_id, cap = activity.info().workflow_run_id or "", self._admission.cap
        while True:
            async with transaction(self._engine) as connection:
                if await ingestions.begin(connection, ref, run_id=run_id, now=self._now(), cap=cap):
                    return Begun()
            if not await self._admission.may_begin(ref):
                return Begun(admitted=False)

    @activity.defn(name=steps.PUBLISH.name)
    async def publish(self, ref: IngestionRef) -> Closed:
        """Flip to this version, then delete what nobody reads any more."""
        async with transaction(self._engine) as connection:
            closed = await ingestions.publish(connection, ref, now=self._now())
            await flight.record(connection, ref, this_attempt(), now=self._now())
            retired = await ingestions.last_retired(connection, ref)
        await self._admission.let_in(ref.owner_id)
        await self._blobs.delete_prefix(blobs.derived_prefix(ref.document_id, ref.ingestion_id))
        if retired is not None:
            await self._clear(retired)
        log.info("published", document_id=str(ref.document_id))
        return closed

    async def _clear(self, retired: IngestionRef) -> None:
        deleted = limit = self._chunk_batch
        while deleted >= limit:
            async with transaction(self._engine) as connection:
                deleted = await chunks.delete_some(connection, retired.ingestion_id, limit=limit)
                await ingestions.forget_chunks(connection, retired, deleted, now=self._now())
        await self._blobs.delete_prefix(blobs.ingestion_prefix(retired.document_id, retired.ingestion_id))

    @activity.defn(name=steps.PARK.name)
    async def park(self, request: ParkIngestion) -> Done:
        """Show what failed and that a person is needed."""
        async with transaction(self._engine) as connection:
            await ingestions.park(connection, request.ref, code=request.code, message=request.message, now=self._now())
        await self._admission.let_in(request.ref.owner_id)
        log.warning("parked", document_id=str(request.ref.document_id), code=request.code)
        return Done()

    @activity.defn(name=steps.CLOSE_INGESTION.name)
    async def close(self, end: CloseIngestion) -> Closed:
        """End without success. From its commit on no step of this run writes any more."""
        async with transaction(self._engine) as connection:
            closed = await ingestions.close(connection, end, now=self._now())
        await self._admission.let_in(end.ref.owner_id)
        return closed

    @activity.defn(name=steps.DISCARD_CHUNKS.name)
    async def discard_chunks(self, ref: IngestionRef) -> Done:
        """Delete what was stored, unless it was published or taken up again."""
        deleted = limit = self._chunk_batch
        async with heartbeats():
            while deleted >= limit:
                async with transaction(self._engine) as connection:
                    if not await ingestions.hold_discarded(connection, ref):
                        return Done()
                    deleted = await chunks.delete_some(connection, ref.ingestion_id, limit=limit)
                    await ingestions.forget_chunks(connection, ref, deleted, now=self._now())
        return Done()

    @activity.defn(name=steps.DISCARD_ARTIFACTS.name)
    async def discard_artifacts(self, ref: IngestionRef) -> Done:
        """Delete pages and plan, unless the ingestion was published or taken up again.

        They are forgotten first, in a transaction of its own: after a crash between the two there
        are blobs that no row speaks of, never a row that speaks of blobs which are gone.
        """
        async with heartbeats():
            async with transaction(self._engine) as connection:
                if not await ingestions.hold_discarded(connection, ref):
                    return Done()
                await ingestions.forget_artifacts(connection, ref, now=self._now())
            async with transaction(self._engine) as connection:
                if await ingestions.hold_discarded(connection, ref):
                    await self._blobs.delete_prefix(blobs.derived_prefix(ref.document_id, ref.ingestion_id))
        return Done()
