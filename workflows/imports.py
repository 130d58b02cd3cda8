"""Importing many documents: packs of small ones side by side, until nothing of the import waits or runs."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.errors import IngestionClosed, ProviderAuth, ProviderError, ProviderMalformed, ProviderRateLimited
    from domain.steps import (
        BEGIN_IMPORT,
        CLAIM_PACK,
        EMBED_PACK,
        END_IMPORT,
        EXTRACT_PACK,
        RELEASE_PACK,
        RETRY_PARKED,
        SETTLE_IMPORT,
        UNPACK,
        EmbedPack,
        EndImport,
        ImportRef,
        ImportSettled,
        PackRef,
    )
    from workflows.step import failure_of, run_step, run_to_end

# While one pack is read another is embedded; a third keeps both busy. It also bounds what an import
# takes of the queues that it shares with everybody else.
PACKS_IN_FLIGHT = 3

# Some 20 events a pack: far below the server's limit, and a replay stays short.
PACKS_A_RUN = 150

# The provider's trouble, not a document's: each pack would end the same way.
_EVERYBODYS = frozenset({ProviderAuth.code, ProviderError.code, ProviderRateLimited.code, ProviderMalformed.code})

_LOOK_AGAIN = timedelta(seconds=1)
_LOOK_LATER = timedelta(seconds=30)


class _Ended(Exception):
    """The import stops before it is complete."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@workflow.defn(name=runs.IMPORT_DOCUMENTS)
class ImportDocuments:
    """The one run of an import. A document that needs more than a pack gives goes on in a run of its own."""

    def __init__(self) -> None:
        self._pack = 0  # the last one that was taken up
        self._taken = 0  # by this run
        self._unpacking = False
        self._trouble: _Ended | None = None  # of every pack alike
        self._broken: _Ended | None = None  # the archive; what came out of it is ingested
        self._closed = False

    @workflow.run
    async def run(self, ref: ImportRef) -> None:
        """Ingest all documents, or close what is left and say why."""
        try:
            await self._import(ref)
        except _Ended as end:
            await self._end(ref, cancelled=False, code=end.code, message=end.message)
        except (asyncio.CancelledError, FailureError) as error:
            # Without a request it is the worker's cache that evicts.
            if workflow.cancellation_reason() is None:
                raise
            message = "The import was cancelled. Press retry-failed to take it up again."
            await self._end(ref, cancelled=True, code="cancelled", message=message)
            raise error

    async def _import(self, ref: ImportRef) -> None:
        begun = await run_step(BEGIN_IMPORT, ref)
        if begun.closed:
            return
        if begun.cancelled:
            await self._end(ref, cancelled=True, code="cancelled", message="The import was cancelled.")
            return
        self._pack = begun.packs
        if ref.epoch > 1 and workflow.info().continued_run_id is None:
            await run_step(RETRY_PARKED, ref)
        await self._unpack_and_pack(ref, unpack=begun.unpack)
        _stop_if_cancelled()
        if self._closed:  # the row says by whom and how: begin reads it
            workflow.continue_as_new(ref)
        if (trouble := self._trouble or self._broken) is not None:
            raise trouble
        await self._settle(ref)

    async def _unpack_and_pack(self, ref: ImportRef, *, unpack: bool) -> None:
        """Packs are filled while the archive is still being unpacked; all settle before a failure is raised."""
        self._unpacking = unpack
        work = [self._lane(ref) for _ in range(PACKS_IN_FLIGHT)]
        if unpack:
            work.append(self._unpack(ref))
        ends = await asyncio.gather(*work, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _unpack(self, ref: ImportRef) -> None:
        try:
            await run_step(UNPACK, ref)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            code, message = failure_of(error)
            if code == IngestionClosed.code:
                self._closed = True
            else:
                self._broken = _Ended(code, message)
        finally:
            self._unpacking = False

    async def _lane(self, ref: ImportRef) -> None:
        pause = _LOOK_AGAIN
        while self._goes_on():
            if self._unpacking and workflow.info().is_continue_as_new_suggested():
                # Who unpacks may be away for hours; what came out waits, and the history stays bounded.
                await workflow.wait_condition(lambda: not self._unpacking)
                continue
            self._pack += 1
            self._taken += 1
            pack = PackRef(ref=ref, pack=self._pack)
            claimed = await run_step(CLAIM_PACK, pack, summary=f"Choose pack {pack.pack}")
            self._closed = self._closed or claimed.closed
            if claimed.documents:
                workflow.set_current_details(f"**Importing** pack {pack.pack}: {claimed.left} documents wait.")
                await self._ingest(pack)
                pause = _LOOK_AGAIN
            elif self._unpacking or claimed.left:
                await workflow.sleep(pause)
                pause = min(pause * 2, _LOOK_LATER)
            else:
                return

    def _goes_on(self) -> bool:
        if self._closed or self._trouble is not None or workflow.cancellation_reason() is not None:
            return False
        full = self._taken >= PACKS_A_RUN or workflow.info().is_continue_as_new_suggested()
        return self._unpacking or self._broken is not None or not full

    async def _ingest(self, pack: PackRef) -> None:
        number = pack.pack
        try:
            _stop_if_cancelled()
            planned = await run_step(EXTRACT_PACK, pack, summary=f"Read pack {number}")
            _stop_if_cancelled()
            if planned.documents:
                embed = EmbedPack(ref=pack.ref, pack=number, plan=planned.plan)
                await run_step(EMBED_PACK, embed, summary=f"Embed pack {number}")
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            code, message = failure_of(error)
            if code in _EVERYBODYS:
                self._trouble = self._trouble or _Ended(code, message)
            else:
                await run_to_end(RELEASE_PACK, pack)

    async def _settle(self, ref: ImportRef) -> None:
        """Wait for documents with runs of their own; what came back to the import goes into packs again."""
        pause = _LOOK_AGAIN
        while not (settled := await run_step(SETTLE_IMPORT, ref)).done:
            _stop_if_cancelled()
            self._continue_if_long(ref, settled)
            workflow.set_current_details(f"**Waiting** for {settled.under_way} documents with runs of their own.")
            await workflow.sleep(pause)
            pause = min(pause * 2, _LOOK_LATER)
        workflow.set_current_details("**Complete.**")

    def _continue_if_long(self, ref: ImportRef, settled: ImportSettled) -> None:
        if settled.packable or workflow.info().is_continue_as_new_suggested():
            workflow.continue_as_new(ref)

    async def _end(self, ref: ImportRef, *, cancelled: bool, code: str, message: str) -> None:
        workflow.set_current_details("**Closing** what is not finished.")
        await run_to_end(END_IMPORT, EndImport(ref=ref, cancelled=cancelled, code=code, message=message))
        workflow.set_current_details(
            "**Cancelled.**" if cancelled else f"**Ended** (`{code}`): {message} Then press retry-failed on the import."
        )


def _stop_if_cancelled() -> None:
    """A step that finished although it was to be cancelled has swallowed the cancellation."""
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError
