"""Ingesting a document: extract, chunk, embed, publish; ask a person when a step fails for good."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.documents import IngestionRef
    from domain.errors import EmbeddingModelChanged, IncompleteIngestion, IngestionClosed, StateConflict
    from domain.steps import (
        BEGIN_INGESTION,
        CHUNK,
        CLOSE_INGESTION,
        DISCARD_ARTIFACTS,
        DISCARD_CHUNKS,
        EMBED,
        KEEP_TEXT_PAGES,
        PARK,
        PUBLISH,
        Closed,
        CloseIngestion,
        Done,
        EmbedShard,
        OutputT,
        ParkIngestion,
        Step,
    )
    from workflows.attention import NOTHING_TO_KEEP, ask_for_help
    from workflows.reading import read_pages
    from workflows.step import failure_of, run_step, run_to_end, stop_if_cancelled

T = TypeVar("T")

STAGE = SearchAttributeKey.for_keyword("Stage")

# Three batches a shard are in flight. Three shards saturate a provider's connection and keep a
# document of 300 pages, three shards itself, within 40 events.
PARALLEL_SHARDS = 3

# The largest document that the default limits let through has some 600 shards at 6 events each,
# far below the server's limit of 51,200 events: one run is enough.


# Embedding again would fail again: the plan itself has to be made anew.
_PLAN_AGAIN = frozenset({EmbeddingModelChanged.code, IncompleteIngestion.code})


class _Decision(StrEnum):
    RETRY = "retry"
    ABANDON = "abandon"
    KEEP_TEXT_PAGES = "keep_text_pages"


class _Ended(Exception):
    """The ingestion ends without success: abandoned, or closed by somebody else."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@workflow.defn(name=runs.INGEST_DOCUMENT)
class IngestDocument:
    """The one run that may ingest a document; a newer version continues it under the same id."""

    def __init__(self) -> None:
        self._parked = False
        self._decision: _Decision | None = None
        self._stage_shown = False
        self._text_to_keep = False
        self._plan_again = False
        self._shards_left: list[int] = []
        self._called = False
        self._compensations: list[Step[IngestionRef, Done]] = []

    @workflow.run
    async def run(self, ref: IngestionRef) -> Closed:
        """Publish, or undo and say why; then hand the workflow's id on to a version that waits for it."""
        cancelled: BaseException | None = None
        try:
            closed = await self._ingest(ref)
        except _Ended as end:
            closed = await self._undo(ref, cancelled=False, code=end.code, message=end.message)
        except (asyncio.CancelledError, FailureError) as error:
            # `_ingest` lets no other failure pass. Without a request it is the worker's cache that evicts.
            if workflow.cancellation_reason() is None:
                raise
            cancelled = error
            closed = await self._undo(ref, cancelled=True, code="cancelled", message="The ingestion was cancelled.")
        await workflow.wait_condition(workflow.all_handlers_finished)
        if closed.successor is not None:
            self._show_stage("processing")
            workflow.continue_as_new(closed.successor)
        if cancelled is not None and not closed.published:
            self._show_stage("cancelled")
            raise cancelled
        self._show_stage("published" if closed.published else "failed")
        return closed

    @workflow.update(
        name=runs.RETRY_UPDATE,
        description="Run the failed step again. What succeeded before is kept and not paid for again.",
    )
    def retry(self) -> None:
        """Go on with the failed step."""
        self._decision = _Decision.RETRY

    @retry.validator
    def _retry_is_possible(self) -> None:
        self._require_parked(_Decision.RETRY)

    @workflow.update(
        name=runs.ABANDON_UPDATE,
        description="Give this version up and clear away what was stored of it. An earlier version answers on.",
    )
    def abandon(self) -> None:
        """Undo and end."""
        self._decision = _Decision.ABANDON

    @abandon.validator
    def _abandon_is_possible(self) -> None:
        self._require_parked(_Decision.ABANDON)

    @workflow.signal(name=runs.ADMIT_SIGNAL, description="There is room for another document of this owner.")
    def admit(self) -> None:
        """Ask again whether there is room."""
        self._called = True

    @workflow.update(
        name=runs.KEEP_TEXT_PAGES_UPDATE,
        description="Go on with the pages that have text, and leave out those that nothing here can recognise.",
    )
    def keep_text_pages(self) -> None:
        """Go on without the pages that have no text."""
        self._decision = _Decision.KEEP_TEXT_PAGES

    @keep_text_pages.validator
    def _keep_text_pages_is_possible(self) -> None:
        self._require_parked(_Decision.KEEP_TEXT_PAGES)
        if not self._text_to_keep:
            raise ApplicationError(NOTHING_TO_KEEP, type=StateConflict.code, non_retryable=True)

    async def _ingest(self, ref: IngestionRef) -> Closed:
        # Each compensation is registered before the step that it undoes. An earlier run of this
        # ingestion may have left chunks, which this one builds on.
        self._compensations = [DISCARD_CHUNKS, DISCARD_ARTIFACTS] if ref.epoch > 1 else [DISCARD_ARTIFACTS]
        await self._begin(ref)
        workflow.set_current_details("**Extracting** the text.")
        await self._insist(ref, "extraction", lambda: read_pages(ref, self._recognising))
        self._text_to_keep = False
        await self._chunk(ref)
        await self._insist(ref, "embedding", lambda: self._embed(ref))
        workflow.set_current_details("**Publishing.**")
        closed = await self._insist(ref, "publishing", lambda: self._publish(ref))
        workflow.set_current_details("**Published.**")
        return closed

    async def _begin(self, ref: IngestionRef) -> None:
        """Take the document up, when its owner's turn has come."""
        while True:
            self._called = False  # who calls from here on is heard, also while the answer is on its way
            if (await self._try(BEGIN_INGESTION, ref)).admitted:
                return
            workflow.set_current_details("**Queued** behind other documents of this owner. It goes on by itself.")
            stop_if_cancelled()
            await workflow.wait_condition(lambda: self._called)

    async def _try(self, step: Step[IngestionRef, OutputT], ref: IngestionRef) -> OutputT:
        """Run a step without which nothing goes on."""
        try:
            return await run_step(step, ref)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            raise _Ended(*failure_of(error)) from error

    def _recognising(self, left: int, has_text: bool) -> None:
        self._text_to_keep = has_text
        workflow.set_current_details(f"**Recognising** the text of {left} page images.")

    async def _chunk(self, ref: IngestionRef) -> None:
        workflow.set_current_details("**Chunking** the text.")
        chunked = await self._insist(ref, "chunking", lambda: run_step(CHUNK, ref))
        self._plan_again = False
        self._shards_left = list(range(chunked.shards))
        workflow.set_current_details(f"**Embedding** {chunked.chunks} chunks in {chunked.shards} shards.")

    async def _embed(self, ref: IngestionRef) -> None:
        """Embed the shards that are left, some at a time; all settle before the first failure is raised."""
        if DISCARD_CHUNKS not in self._compensations:
            self._compensations.append(DISCARD_CHUNKS)
        if self._plan_again:
            await self._chunk(ref)
        slots = asyncio.Semaphore(PARALLEL_SHARDS)
        total = len(self._shards_left)
        failures: list[FailureError] = []

        async def one(shard: int) -> None:
            async with slots:
                if failures:
                    return
                try:
                    await run_step(EMBED, EmbedShard(ref=ref, shard=shard), summary=f"Embed shard {shard}")
                except FailureError as error:
                    failures.append(error)
                else:
                    self._shards_left.remove(shard)
                    workflow.set_current_details(f"**Embedding:** {len(self._shards_left)} of {total} shards left.")

        # With exceptions as results a cancellation, too, waits until every shard has settled.
        await asyncio.gather(*(one(shard) for shard in list(self._shards_left)), return_exceptions=True)
        if failures:
            raise failures[0]

    async def _publish(self, ref: IngestionRef) -> Closed:
        if self._plan_again:
            await self._insist(ref, "embedding", lambda: self._embed(ref))
        return await run_to_end(PUBLISH, ref)

    async def _insist(self, ref: IngestionRef, what: str, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step until it succeeds, asking a person each time that it fails for good."""
        while True:
            # A step that finished although it was to be cancelled has swallowed the cancellation.
            stop_if_cancelled()
            try:
                return await step()
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                code, message = failure_of(error)
            if code == IngestionClosed.code:
                raise _Ended(code, message)
            await self._park(ref, what, code, message)

    async def _park(self, ref: IngestionRef, what: str, code: str, message: str) -> None:
        """Wait for a person. Whoever sees `needs_attention` is not refused, so Updates are taken before it shows."""
        self._parked, self._decision = True, None
        try:
            await run_to_end(PARK, ParkIngestion(ref=ref, code=code, message=message))
        except FailureError as error:
            raise _Ended(*failure_of(error)) from error
        self._stage_shown = True
        self._show_stage("needs_attention")
        workflow.set_current_details(ask_for_help(what, code, message, keep=self._text_to_keep))
        stop_if_cancelled()
        decision = await self._decided()
        self._parked = False
        if decision is _Decision.ABANDON:
            raise _Ended(code, message)
        self._show_stage("processing")
        workflow.set_current_details(f"**Trying again:** {what}.")
        self._plan_again = code in _PLAN_AGAIN
        await self._begin(ref)
        if decision is _Decision.KEEP_TEXT_PAGES:
            await self._try(KEEP_TEXT_PAGES, ref)

    async def _decided(self) -> _Decision | None:
        await workflow.wait_condition(lambda: self._decision is not None)
        return self._decision

    async def _undo(self, ref: IngestionRef, *, cancelled: bool, code: str, message: str) -> Closed:
        """Close first: from then on no late attempt writes what the compensations delete."""
        self._parked = False
        workflow.set_current_details("**Undoing** what was stored.")
        end = CloseIngestion(ref=ref, cancelled=cancelled, code=code, message=message)
        closed = await run_to_end(CLOSE_INGESTION, end)
        if not closed.published:
            for step in reversed(self._compensations):
                await run_to_end(step, ref)
        workflow.set_current_details(
            "**Cancelled.**" if cancelled else f"**Ended without success** (`{code}`): {message}"
        )
        return closed

    def _show_stage(self, stage: str) -> None:
        """Tell lists where the run stands; only a run that was parked needs correcting."""
        if self._stage_shown:
            workflow.upsert_search_attributes([STAGE.value_set(stage)])

    def _require_parked(self, decision: _Decision) -> None:
        if not self._parked or self._decision is not None:
            raise ApplicationError(
                f"Nothing waits for {decision}: the ingestion is at work, or was answered already.",
                type=StateConflict.code,
                non_retryable=True,
            )
