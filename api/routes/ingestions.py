"""Ingestions: what became of the newest version, and putting it right."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import structlog
from fastapi import APIRouter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sse_starlette import EventSourceResponse, ServerSentEvent
from temporalio.service import RPCError

from adapters.clock import now
from adapters.postgres import document_requests, documents
from adapters.postgres.engine import transaction
from adapters.temporal.ingestions import PendingActivity, ask_parked, pending_activities
from adapters.temporal.runs import cancel_run
from adapters.wiring import Adapters
from api import watching
from api.dependencies import AdaptersDep, Reader, SettingsDep, Writer
from api.errors import responses
from api.flight import Links, steps_of
from api.idempotency import Once, OnceDep
from api.schemas.documents import Document, LastError, Progress
from api.schemas.ingestions import (
    Ingestion,
    ModelCalls,
    PendingStep,
    RefusedChunk,
    RetryOptions,
    WorkflowLink,
)
from api.starting import start_soon, started
from api.streaming import event_stream
from api.watching import Subject
from domain.documents import FINAL, DocumentStatus, Operation, require
from domain.errors import DomainError
from domain.ids import DocumentId, ImportId, IngestionId, UserId
from domain.runs import ABANDON_UPDATE, KEEP_TEXT_PAGES_UPDATE, RETRY_UPDATE, import_run, ingestion_run

router = APIRouter(prefix="/documents/{document_id}", tags=["Documents"])
log = structlog.get_logger(__name__)

_PROGRESS = """\
event: document.progress
data: {"id":"0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d","status":"processing","stage":"embedding"}

"""
_PATIENCE = 2.0
_REFUSED_SHOWN = 100
_ERRORS = responses(400, 401, 403, 404, 409)


@router.post("/retry", status_code=202, summary="Try again", responses=_ERRORS)
async def retry_document(
    document_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep, body: RetryOptions | None = None
) -> Document:
    """Go on after `needs_attention`, or start again after `failed` or `cancelled`; what is stored is not done again.

    With `keep_text_pages` it goes on without the pages that have no text: 409 where no page has any.
    """
    document, keep = DocumentId(document_id), body is not None and body.keep_text_pages
    async with transaction(adapters.engine) as connection:
        first = await once.claim(connection, user.id)
        asked = await document_requests.retry(connection, user.id, document, again=not first, keep_text_pages=keep)
        answer = Document.of(asked.document)
        if not asked.parked:
            await once.keep(connection, user.id, 202, answer)
    if asked.parked:
        return await _ask_parked(adapters, once, user.id, document, KEEP_TEXT_PAGES_UPDATE if keep else RETRY_UPDATE)
    if asked.start is not None:
        await start_soon(adapters, asked.start)
    return answer


@router.post("/abandon", status_code=202, summary="Give up", responses=_ERRORS)
async def abandon_document(document_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep) -> Document:
    """Give up what needs attention: an older version answers on, without one the document is `failed`."""
    document = DocumentId(document_id)
    async with transaction(adapters.engine) as connection:
        first = await once.claim(connection, user.id)
        row = await documents.read(connection, user.id, document)
        if not first and row.status != DocumentStatus.NEEDS_ATTENTION:
            return await once.keep(connection, user.id, 202, Document.of(row))
        require(Operation.ABANDON, DocumentStatus(row.status))
    return await _ask_parked(adapters, once, user.id, document, ABANDON_UPDATE)


async def _ask_parked(adapters: Adapters, once: Once, owner: UserId, document: DocumentId, update: str) -> Document:
    """Ask the run while no transaction is open: a worker may take its time."""
    try:
        await ask_parked(adapters.temporal, document, update, update_id=once.effect_id(owner))
    except (DomainError, RPCError):
        async with transaction(adapters.engine) as connection:
            await once.release(connection, owner)
        raise
    async with transaction(adapters.engine) as connection:
        row = await documents.read(connection, owner, document)
        return await once.keep(connection, owner, 202, Document.of(row))


@router.post("/cancel", status_code=202, summary="Stop", responses=_ERRORS)
async def cancel_document(document_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep) -> Document:
    """Stop what runs or waits; what it made is taken back. An older version answers on."""
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        asked = await document_requests.cancel(connection, user.id, DocumentId(document_id), now=now())
        answer = await once.keep(connection, user.id, 202, Document.of(asked.document))
    if asked.cancel_run is not None:
        run = ingestion_run(DocumentId(document_id))
        await started(cancel_run(adapters.temporal, run, run_id=asked.cancel_run))
    return answer


@router.get("/ingestion", summary="See the flight record", responses=responses(401, 403, 404))
async def get_ingestion(document_id: UUID, user: Reader, adapters: AdaptersDep, settings: SettingsDep) -> Ingestion:
    """See what each step took, what failed last, when the next attempt is due, and what was paid for."""
    document = DocumentId(document_id)
    async with transaction(adapters.engine) as connection:
        row = await documents.read(connection, user.id, document)
        ingestion = await documents.read_ingestion(connection, IngestionId(row.current_ingestion_id))
    run = _run(document, ingestion)
    pending = await _pending(adapters, run, ingestion.run_id)
    # Read after Temporal was asked: what failed is recorded first, so the record is never behind `pending`.
    async with transaction(adapters.engine) as connection:
        row = await documents.read(connection, user.id, document)
        ingestion = await documents.read_ingestion(connection, IngestionId(row.current_ingestion_id))
        steps = await documents.steps_of(connection, IngestionId(ingestion.id))
        refused = await documents.refused_chunks(connection, IngestionId(ingestion.id), limit=_REFUSED_SHOWN)
    links = _links(settings.temporal_ui_url, adapters.temporal.namespace, run, ingestion.run_id)
    retries = [each.next_retry_at for each in pending or [] if each.next_retry_at is not None]
    return Ingestion(
        id=ingestion.id,
        document_id=document_id,
        version=ingestion.version,
        status=ingestion.status,
        stage=row.stage,
        runs=ingestion.epoch,
        progress=Progress.of(row),
        steps=steps_of(ingestion, steps, pending or [], links, now=now()),
        pending=[_pending_step(each) for each in pending or []],
        next_retry_at=min(retries, default=None),
        last_error=LastError.of(ingestion),
        model_calls=ModelCalls(made=ingestion.model_calls, needed=ingestion.model_calls_needed),
        model_tokens=ingestion.model_tokens,
        chunks_stored=ingestion.stored_chunks,
        chunks_planned=ingestion.planned_chunks,
        chunks_reused=ingestion.reused_chunks,
        chunks_refused=ingestion.refused_chunks,
        refused_chunks=[RefusedChunk.of(each) for each in refused],
        pages_recognized=ingestion.pages_recognized,
        pages_without_text=ingestion.pages_without_text or [],
        embedding_model=ingestion.embedding_model,
        workflow=WorkflowLink(
            id=run,
            run_id=ingestion.run_id,
            url=links.history,
            reachable=pending is not None,
        ),
        created_at=ingestion.created_at,
        started_at=ingestion.started_at,
        finished_at=ingestion.finished_at,
    )


@router.get(
    "/events",
    summary="Watch a document",
    response_class=EventSourceResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _PROGRESS}},
            "description": "`document.progress`, `document.needs_attention`, then one of `document.ready`, "
            "`document.failed`, `document.cancelled`, `document.deleted`; data is the document.",
        },
        **responses(401, 403, 404),
    },
)
async def watch_document(document_id: UUID, user: Reader, adapters: AdaptersDep) -> EventSourceResponse:
    """Watch progress as server-sent events: the document as it is, each change, and a final state. Heartbeat 10 s."""
    async with transaction(adapters.engine) as connection:
        await documents.read(connection, user.id, DocumentId(document_id))
    return event_stream(watch(adapters, user.id, DocumentId(document_id)))


def watch(adapters: Adapters, owner: UserId, document: DocumentId) -> AsyncIterator[ServerSentEvent]:
    """Yield the document as it is, each change, and end with a final state."""

    async def read(connection: AsyncConnection) -> Document:
        return Document.of(await documents.read(connection, owner, document))

    named = frozenset({DocumentStatus.NEEDS_ATTENTION})
    return watching.watch(adapters, Subject("document", "documents", document, read, FINAL, named))


async def _pending(adapters: Adapters, run: str, run_id: str | None) -> list[PendingActivity] | None:
    """Ask Temporal; None where it does not answer: the record in the database stands on its own."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await pending_activities(adapters.temporal, run, run_id)
    except (RPCError, RuntimeError, OSError, TimeoutError) as error:
        log.warning("flight_record_without_temporal", error=type(error).__name__)
        return None


def _pending_step(activity: PendingActivity) -> PendingStep:
    error = None if activity.error is None else LastError(code=activity.error[0], message=activity.error[1])
    return PendingStep(
        step=activity.step,
        attempt=activity.attempt,
        running=activity.running,
        next_retry_at=activity.next_retry_at,
        last_error=error,
    )


def _run(document: DocumentId, ingestion: Row[tuple[object, ...]]) -> str:
    """Name the workflow that has the document: its own, or that of the import which has it in a pack."""
    return ingestion_run(document) if ingestion.import_id is None else import_run(ImportId(ingestion.import_id))


def _links(ui: str, namespace: str, workflow: str, run_id: str | None) -> Links:
    if run_id is None:
        return Links(None, None)
    run = f"{ui.rstrip('/')}/namespaces/{namespace}/workflows/{workflow.replace('/', '%2F')}/{run_id}"
    return Links(f"{run}/history", f"{run}/pending-activities")
