"""Imports: many files at once, one progress for all."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sse_starlette import EventSourceResponse, ServerSentEvent

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import bots, import_items, import_requests, imports
from adapters.postgres.engine import transaction
from adapters.temporal.runs import cancel_run, start_import
from adapters.wiring import Adapters, archive_limits
from api import watching
from api.dependencies import AdaptersDep, Reader, SettingsDep, TransactionDep, Writer
from api.errors import responses
from api.idempotency import OnceDep, Replay
from api.imports import Received
from api.pagination import ListingDep
from api.schemas.base import ListOf
from api.schemas.documents import METADATA_FIELD
from api.schemas.imports import Import, ImportItem, ImportWorkflow
from api.starting import started
from api.streaming import event_stream
from api.watching import Subject
from domain.blobs import document_prefix
from domain.errors import DomainError
from domain.ids import BotId, ImportId, UserId
from domain.imports import FINAL, ItemOutcome, Taken
from domain.runs import import_run
from domain.steps import ImportRef

router = APIRouter(tags=["Imports"])
log = structlog.get_logger(__name__)

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Any number of files.",
                        },
                        "archive": {
                            "type": "string",
                            "format": "binary",
                            "description": "Instead of files: one .zip, .tar or .tar.gz.",
                        },
                        "name": {"type": "string", "maxLength": 255, "description": "Of the import."},
                        "metadata": METADATA_FIELD,
                    },
                },
                "example": {"archive": "(the archive's bytes)", "name": "Handbooks"},
            }
        },
    }
}
_PROGRESS = """\
event: import.progress
data: {"id":"0199f0c4-b111-7c22-8d33-4e5f6a7b8c9d","status":"running","counts":{"files":1200,"ready":660}}

"""
_ERRORS = responses(400, 401, 403, 404, 409)


@router.post(
    "/bots/{bot_id}/imports",
    status_code=202,
    summary="Import many files",
    responses=responses(400, 401, 403, 404, 409, 413, 415),
    openapi_extra=_FORM,
)
async def start_an_import(
    bot_id: UUID,
    request: Request,
    user: Writer,
    adapters: AdaptersDep,
    settings: SettingsDep,
    once: OnceDep,
    response: Response,
) -> Import:
    """Send many files, or an archive. Each becomes a document, a duplicate or a refusal, and none fails the others."""
    async with transaction(adapters.engine) as connection:
        await bots.read(connection, user.id, BotId(bot_id))
    ref = ImportRef(owner_id=user.id, bot_id=BotId(bot_id), import_id=ImportId(new_id()))
    received = Received(adapters.blobs, ref.import_id, archive_limits(settings))
    try:
        await received.take(request)
        async with transaction(adapters.engine) as connection:
            await once.claim(connection, user.id, content=received.fingerprint())
            await bots.hold(connection, user.id, ref.bot_id)
            await imports.add(
                connection, ref, name=received.name, archive=received.archive is not None, metadata=received.metadata
            )
            needless = await import_items.register(connection, ref, received.entries)
            shown = await _shown(adapters, connection, user.id, ref.import_id, settings.temporal_ui_url)
            headers = {"Location": f"/api/v1/imports/{ref.import_id}"}
            await once.keep(connection, user.id, 202, shown, headers)
    except (DomainError, Replay):
        # Any other failure may have come after the commit: then the bytes are needed.
        await received.drop()
        raise
    for entry in needless:
        if isinstance(entry.found, Taken):
            await adapters.blobs.delete_prefix(document_prefix(entry.document_id))
    response.headers.update(headers)
    await started(start_import(adapters.temporal, ref))
    return shown


@router.get("/bots/{bot_id}/imports", summary="List imports", responses=responses(401, 403, 404))
async def list_imports(
    bot_id: UUID,
    user: Reader,
    connection: TransactionDep,
    listing: ListingDep,
    adapters: AdaptersDep,
    settings: SettingsDep,
) -> ListOf[Import]:
    """List a bot's imports."""
    await bots.read(connection, user.id, BotId(bot_id))
    bound = listing.of("imports", user.id, bot_id)
    rows = await imports.page(connection, user.id, BotId(bot_id), bound.window)
    rendered = await _render(adapters, connection, rows, settings.temporal_ui_url)
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=lambda row: rendered[row.id])


@router.get("/imports/{import_id}", summary="See an import", responses=responses(401, 403, 404))
async def get_import(
    import_id: UUID, user: Reader, connection: TransactionDep, adapters: AdaptersDep, settings: SettingsDep
) -> Import:
    """See how far an import is, and what has become of its documents."""
    return await _shown(adapters, connection, user.id, ImportId(import_id), settings.temporal_ui_url)


@router.get("/imports/{import_id}/items", summary="List an import's files", responses=responses(401, 403, 404))
async def list_import_items(
    import_id: UUID,
    user: Reader,
    connection: TransactionDep,
    listing: ListingDep,
    outcome: Annotated[ItemOutcome | None, Query(description="Only those with this outcome.")] = None,
) -> ListOf[ImportItem]:
    """List the files that were given, by their place, and what became of each."""
    await imports.read(connection, user.id, ImportId(import_id))
    bound = listing.of("import_items", user.id, import_id, outcome)
    rows = await import_items.page(connection, ImportId(import_id), bound.window, outcome=outcome)
    return bound.page(rows, key=lambda row: (row.position,), render=ImportItem.of)


@router.post("/imports/{import_id}/cancel", status_code=202, summary="Stop an import", responses=_ERRORS)
async def cancel_import(
    import_id: UUID, user: Writer, adapters: AdaptersDep, settings: SettingsDep, once: OnceDep
) -> Import:
    """Stop what waits or runs; its documents become `cancelled`. What is ready stays."""
    id_ = ImportId(import_id)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        row = await import_requests.cancel(connection, user.id, id_, now=now())
        shown = await _shown(adapters, connection, user.id, id_, settings.temporal_ui_url)
        await once.keep(connection, user.id, 202, shown)
    if row.run_id is not None:  # else its run finds the wish as soon as it begins
        await started(cancel_run(adapters.temporal, import_run(id_), run_id=row.run_id))
    return shown


@router.post("/imports/{import_id}/retry-failed", status_code=202, summary="Retry what failed", responses=_ERRORS)
async def retry_failed_of_import(
    import_id: UUID, user: Writer, adapters: AdaptersDep, settings: SettingsDep, once: OnceDep
) -> Import:
    """Take up again what failed, was cancelled or needs attention; what is stored is not done again."""
    id_ = ImportId(import_id)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        ref = await import_requests.retry_failed(connection, user.id, id_, now=now())
        shown = await _shown(adapters, connection, user.id, id_, settings.temporal_ui_url)
        await once.keep(connection, user.id, 202, shown)
    await started(start_import(adapters.temporal, ref))
    return shown


@router.get(
    "/imports/{import_id}/events",
    summary="Watch an import",
    response_class=EventSourceResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _PROGRESS}},
            "description": "`import.progress`, then one of `import.complete`, `import.failed`, `import.cancelled`, "
            "`import.deleted`; data is the import.",
        },
        **responses(401, 403, 404),
    },
)
async def watch_import(
    import_id: UUID, user: Reader, adapters: AdaptersDep, settings: SettingsDep
) -> EventSourceResponse:
    """Watch progress as server-sent events: the import as it is, each change, and a final state. Heartbeat 10 s."""
    async with transaction(adapters.engine) as connection:
        await imports.read(connection, user.id, ImportId(import_id))
    return event_stream(watch(adapters, user.id, ImportId(import_id), settings.temporal_ui_url))


def watch(adapters: Adapters, owner: UserId, import_id: ImportId, ui: str) -> AsyncIterator[ServerSentEvent]:
    """Yield the import as it is, each change, and end with a final state."""

    async def read(connection: AsyncConnection) -> Import:
        return await _shown(adapters, connection, owner, import_id, ui)

    return watching.watch(adapters, Subject("import", "imports", import_id, read, FINAL))


async def _shown(
    adapters: Adapters, connection: AsyncConnection, owner: UserId, import_id: ImportId, ui: str
) -> Import:
    row = await imports.read(connection, owner, import_id)
    return (await _render(adapters, connection, [row], ui))[import_id]


async def _render(
    adapters: Adapters, connection: AsyncConnection, rows: Sequence[Row[Any]], ui: str
) -> dict[UUID, Import]:
    counted = await imports.counts(connection, [ImportId(row.id) for row in rows], now=now())
    return {
        row.id: Import.of(row, counted[ImportId(row.id)], _workflow(adapters.temporal.namespace, row, ui))
        for row in rows
    }


def _workflow(namespace: str, row: Row[Any], ui: str) -> ImportWorkflow:
    name = import_run(ImportId(row.id))
    path = f"namespaces/{namespace}/workflows/{name.replace('/', '%2F')}/{row.run_id}/history"
    return ImportWorkflow(id=name, run_id=row.run_id, url=f"{ui.rstrip('/')}/{path}" if row.run_id else None)
