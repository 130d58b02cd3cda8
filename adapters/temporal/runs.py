"""Starting, cancelling and asking of runs; used by the API and by housekeeping alike.

Runs are started by name: the adapters know nothing of workflow code.
"""

from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    WorkflowExecutionStatus,
)
from temporalio.common import Priority, SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from adapters.postgres.admission import Waiting
from adapters.temporal.client import BOT_ID, DOCUMENT_ID, OWNER_ID, STAGE
from domain import runs
from domain.crawls import CrawlRef
from domain.documents import IngestionRef
from domain.ids import ConversationId
from domain.model import Model
from domain.steps import DeletionRef, HousekeepingTick, ImportRef, IndexRef, Queue, TurnRef

log = structlog.get_logger(__name__)


async def start_ingestion(client: Client, ref: IngestionRef) -> bool:
    """Start the document's ingestion. False where a run of this document is still open."""
    return await _start(
        client,
        runs.INGEST_DOCUMENT,
        ref,
        run=runs.ingestion_run(ref.document_id),
        summary="Ingest a document",
        priority=runs.INGEST_PRIORITY,
        attributes=_attributes(ref.owner_id, ref.bot_id, ref.document_id, stage="processing"),
    )


async def call_ingestion(client: Client, waiting: Waiting) -> bool:
    """Start the run of a document that may begin, or wake the one that waits for it. False where one was open.

    An open run that is not the document's any more may wait as well, where a cancel did not reach it: woken, it
    finds itself closed and hands the id on. One that is at work is not disturbed by the call.
    """
    if waiting.run_id is not None and await _wake(client, waiting, run_id=waiting.run_id):
        return False
    if await start_ingestion(client, waiting.ref):
        return True
    await _wake(client, waiting, run_id=None)
    return False


async def _wake(client: Client, waiting: Waiting, *, run_id: str | None) -> bool:
    """Signal a run; False where there is none."""
    run = client.get_workflow_handle(runs.ingestion_run(waiting.ref.document_id), run_id=run_id)
    return await _reached(run.signal(runs.ADMIT_SIGNAL))


async def start_turn(client: Client, ref: TurnRef) -> bool:
    """Start answering. False where the conversation's run is still open."""
    return await _start(
        client,
        runs.ANSWER_TURN,
        ref,
        run=runs.turn_run(ref.conversation_id),
        summary="Answer a message",
        priority=runs.CHAT_PRIORITY,
        attributes=_attributes(ref.owner_id, ref.bot_id),
    )


async def wake_turn(client: Client, conversation: ConversationId) -> bool:
    """Tell the run of a conversation that something was decided. False where there is none."""
    return await _reached(client.get_workflow_handle(runs.turn_run(conversation)).signal(runs.DECIDED_SIGNAL))


async def start_crawl(client: Client, ref: CrawlRef) -> bool:
    """Start a crawl. False where it runs already."""
    return await _start(
        client,
        runs.CRAWL_SITE,
        ref,
        run=runs.crawl_run(ref.crawl_id),
        summary="Crawl a site",
        priority=runs.INGEST_PRIORITY,
        attributes=_attributes(ref.owner_id, ref.bot_id),
    )


async def start_deletion(client: Client, ref: DeletionRef) -> bool:
    """Start a deletion. False where it runs already."""
    document = ref.document_id
    return await _start(
        client,
        runs.DELETE_BOT if document is None else runs.DELETE_DOCUMENT,
        ref,
        run=runs.deletion_run(ref.bot_id if document is None else document),
        summary="Delete a bot" if document is None else "Delete a document",
        priority=runs.DELETE_PRIORITY,
        attributes=_attributes(ref.owner_id, ref.bot_id, document),
    )


async def start_import(client: Client, ref: ImportRef) -> bool:
    """Start an import. False where its run is still open."""
    return await _start(
        client,
        runs.IMPORT_DOCUMENTS,
        ref,
        run=runs.import_run(ref.import_id),
        summary="Import documents",
        priority=runs.IMPORT_PRIORITY,
        attributes=_attributes(ref.owner_id, ref.bot_id),
    )


async def start_indexing(client: Client, ref: IndexRef) -> bool:
    """Start looking after a bot's index. False where that runs already."""
    return await _start(
        client,
        runs.INDEX_BOT,
        ref,
        run=runs.index_run(ref.bot_id),
        summary="Index a large bot",
        priority=runs.IMPORT_PRIORITY,
        attributes=_attributes(ref.owner_id, ref.bot_id),
    )


async def cancel_run(client: Client, workflow_id: str, *, run_id: str | None) -> bool:
    """Ask a run to stop. False where there is none; a named one that has closed takes it in silence.

    Give the run that you mean: without it a successor under the same id may be hit.
    """
    return await _reached(client.get_workflow_handle(workflow_id, run_id=run_id).cancel())


async def open_run(client: Client, workflow_id: str) -> str | None:
    """Give the run of this id that is open now."""
    try:
        description = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return description.run_id if description.status is WorkflowExecutionStatus.RUNNING else None


async def is_open(client: Client, workflow_id: str) -> bool:
    """Tell whether a run of this id is open now."""
    return await open_run(client, workflow_id) is not None


async def open_runs(client: Client, name: str) -> set[str]:
    """List the ids of a workflow's open runs, as the visibility store has them: it lags by a moment."""
    query = f"WorkflowType = '{name}' AND ExecutionStatus = 'Running'"
    return {run.id async for run in client.list_workflows(query)}


async def ensure_housekeeping(client: Client, *, every: timedelta, grace: timedelta) -> None:
    """Create the housekeeping Schedule, or bring it up to date."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            runs.HOUSEKEEPING,
            HousekeepingTick(grace=grace),
            id=runs.HOUSEKEEPING_ID,
            task_queue=Queue.CHAT,
            execution_timeout=timedelta(minutes=10),
            static_summary="Put right what crashes left behind",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)),
        state=ScheduleState(note="Sweeps pending rows, closes orphans, expires events and tokens."),
    )
    try:
        await client.create_schedule(runs.HOUSEKEEPING_ID, schedule)
    except ScheduleAlreadyRunningError:
        # Its state is a person's, who may have paused it.
        await client.get_schedule_handle(runs.HOUSEKEEPING_ID).update(
            lambda seen: ScheduleUpdate(replace(schedule, state=seen.description.schedule.state))
        )


async def _reached(telling: Awaitable[None]) -> bool:
    """Tell a run something; False where there is none."""
    try:
        await telling
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def _start(
    client: Client, name: str, ref: Model, *, run: str, summary: str, priority: int, attributes: TypedSearchAttributes
) -> bool:
    owner = getattr(ref, "owner_id")  # noqa: B009  (every ref has one)
    try:
        handle = await client.start_workflow(
            name,
            ref,
            id=run,
            task_queue=Queue.CHAT,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            search_attributes=attributes,
            static_summary=summary,
            priority=Priority(priority_key=priority, fairness_key=str(owner)),
        )
    except WorkflowAlreadyStartedError:
        return False
    log.info("run_started", workflow=name, workflow_id=run, run_id=handle.result_run_id)
    return True


def _attributes(
    owner: UUID, bot: UUID, document: UUID | None = None, *, stage: str | None = None
) -> TypedSearchAttributes:
    pairs = [SearchAttributePair(OWNER_ID, str(owner)), SearchAttributePair(BOT_ID, str(bot))]
    if document is not None:
        pairs.append(SearchAttributePair(DOCUMENT_ID, str(document)))
    if stage is not None:
        pairs.append(SearchAttributePair(STAGE, stage))
    return TypedSearchAttributes(pairs)
