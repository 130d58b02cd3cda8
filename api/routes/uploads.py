"""Bytes come in: by file, by text, and as a new version."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
from adapters.postgres import bots, documents, uploads
from adapters.postgres.engine import transaction
from adapters.postgres.uploads import Accepted, Upload
from adapters.temporal.runs import cancel_run
from adapters.wiring import Adapters
from api.body_limit import too_large
from api.dependencies import AdaptersDep, SettingsDep, Writer
from api.errors import responses
from api.idempotency import Once, OnceDep, Replay
from api.schemas.documents import METADATA_FIELD, Document, NewText
from api.starting import start_soon, started
from api.uploads import clean_name, receive
from domain.blobs import ingestion_prefix, source_key
from domain.documents import DocumentStatus, Format, Operation, SourceType, require
from domain.errors import DomainError, EmptyFile
from domain.formats import CONTENT_TYPES, READ
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.runs import ingestion_run

router = APIRouter(tags=["Documents"])

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": READ},
                        "name": {"type": "string", "maxLength": 255, "description": "Default: the file's own name."},
                        "encoding": {
                            "type": "string",
                            "description": "Of a file of text, for example `windows-1252`. Default: detected.",
                        },
                        "metadata": METADATA_FIELD,
                        "keep_text_pages": {
                            "type": "boolean",
                            "default": False,
                            "description": "Take the pages that have text, and leave out those that would have to be "
                            "recognised on their image. Where no page has text, all of them are recognised.",
                        },
                    },
                },
                "example": {"file": "(the file's bytes)", "name": "handbook.pdf"},
            }
        },
    }
}
_SAME: dict[int | str, dict[str, Any]] = {200: {"model": Document, "description": "These bytes are there already."}}
_ERRORS = responses(400, 401, 403, 404, 409, 413, 415)


@router.post(
    "/bots/{bot_id}/documents",
    status_code=202,
    summary="Upload a document",
    responses={**_SAME, **_ERRORS},
    openapi_extra=_FORM,
)
async def upload_document(
    bot_id: UUID,
    request: Request,
    user: Writer,
    adapters: AdaptersDep,
    settings: SettingsDep,
    once: OnceDep,
    response: Response,
) -> Document:
    """Upload a file; watch it become ready. The same bytes again answer 200 with the document that is there."""
    async with transaction(adapters.engine) as connection:
        await bots.read(connection, user.id, BotId(bot_id))
    document, ingestion = DocumentId(new_id()), IngestionId(new_id())
    upload = await receive(request, adapters.blobs, document, ingestion, limit=settings.max_upload_bytes)
    accept = partial(uploads.accept, owner=user.id, bot=BotId(bot_id), document=document, upload=upload)
    return await _take(adapters, once, user.id, document, upload, accept, response)


@router.post(
    "/bots/{bot_id}/documents/text",
    status_code=202,
    summary="Add a text",
    responses={**_SAME, **_ERRORS},
)
async def add_text(
    bot_id: UUID,
    body: NewText,
    user: Writer,
    adapters: AdaptersDep,
    settings: SettingsDep,
    once: OnceDep,
    response: Response,
) -> Document:
    """Add a document by its text."""
    async with transaction(adapters.engine) as connection:
        await bots.read(connection, user.id, BotId(bot_id))
    content = body.text.encode()
    if not body.text.strip():
        raise EmptyFile("The text is blank. Send a text that says something.", param="text")
    if len(content) > settings.max_upload_bytes:
        raise too_large(settings.max_upload_bytes)
    name = clean_name(body.name)
    format_ = Format.MARKDOWN if name.lower().endswith((".md", ".markdown")) else Format.TEXT
    document, ingestion = DocumentId(new_id()), IngestionId(new_id())
    upload = Upload(
        ingestion_id=ingestion,
        name=name,
        source_type=SourceType.TEXT,
        format=format_,
        content_type=CONTENT_TYPES[format_],
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        metadata=body.metadata,
    )
    await adapters.blobs.put(source_key(document, ingestion), _one(content))
    accept = partial(uploads.accept, owner=user.id, bot=BotId(bot_id), document=document, upload=upload)
    return await _take(adapters, once, user.id, document, upload, accept, response)


@router.put(
    "/documents/{document_id}/file",
    status_code=202,
    summary="Upload a new version",
    responses={200: {"model": Document, "description": "These are the newest version's bytes."}, **_ERRORS},
    openapi_extra=_FORM,
)
async def replace_document_file(
    document_id: UUID,
    request: Request,
    user: Writer,
    adapters: AdaptersDep,
    settings: SettingsDep,
    response: Response,
) -> Document:
    """Upload a new version. The old one answers until the new one is ready."""
    document, ingestion = DocumentId(document_id), IngestionId(new_id())
    async with transaction(adapters.engine) as connection:
        row = await documents.read(connection, user.id, document)
        require(Operation.REPLACE, DocumentStatus(row.status))
    upload = await receive(request, adapters.blobs, document, ingestion, limit=settings.max_upload_bytes)
    accept = partial(uploads.replace, owner=user.id, document=document, upload=upload)
    return await _take(adapters, Once(None, b"", b""), user.id, document, upload, accept, response)


async def _take(
    adapters: Adapters,
    once: Once,
    owner: UserId,
    document: DocumentId,
    upload: Upload,
    accept: Callable[[AsyncConnection], Awaitable[Accepted]],
    response: Response,
) -> Document:
    """Commit, then start: from the commit on the bytes are never lost."""
    prefix = ingestion_prefix(document, upload.ingestion_id)
    kept = "keep_text_pages" if upload.keep_text_pages else None
    described = json.dumps(upload.metadata, sort_keys=True) if upload.metadata else None
    content = "\0".join(filter(None, (upload.name, upload.sha256, upload.encoding, kept, described))).encode()
    try:
        async with transaction(adapters.engine) as connection:
            await once.claim(connection, owner, content=content)
            accepted = await accept(connection)
            shown = Document.of(accepted.document)
            headers = {"Location": f"/api/v1/documents/{shown.id}"}
            status = 200 if accepted.new is None else 202
            await once.keep(connection, owner, status, shown, headers)
    except (DomainError, Replay):
        # Any other failure may have come after the commit: then the bytes are needed.
        await adapters.blobs.delete_prefix(prefix)
        raise
    response.status_code = status
    response.headers.update(headers)
    if accepted.new is None:
        await adapters.blobs.delete_prefix(prefix)
        return shown
    if accepted.superseded_run is not None:
        await started(cancel_run(adapters.temporal, ingestion_run(document), run_id=accepted.superseded_run))
    await start_soon(adapters, accepted.new)
    return shown


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
