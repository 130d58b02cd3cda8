"""Files: uploaded, listed, downloaded, deleted. They are read when a vector store gets them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import document_requests, documents, files, list_edges
from adapters.postgres.engine import transaction
from adapters.temporal import runs
from api.dependencies import AdaptersDep, Reader, SettingsDep, TransactionDep, Writer
from api.downloads import download
from api.idempotency import Replay
from api.openai.creation import CreationDep
from api.openai.errors import responses
from api.openai.file_form import PURPOSES, receive
from api.openai.ids import PathId
from api.openai.pages import LongPageDep, listed
from api.openai.schemas.base import Listed
from api.openai.schemas.files import File, FileDeleted, lifetime
from api.schemas.base import Clean
from api.starting import started
from domain.blobs import file_key, file_prefix, source_key
from domain.documents import DocumentStatus
from domain.errors import DomainError, NotFound
from domain.ids import DocumentId, FileId, IngestionId, UserId
from domain.steps import DeletionRef

router = APIRouter(prefix="/files", tags=["OpenAI"])

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(PURPOSES)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                    },
                },
                "example": {"file": "(the file's bytes)", "purpose": "assistants"},
            }
        },
    }
}


@router.post("", summary="Upload a file", responses=responses(409, 413), openapi_extra=_FORM)
async def create_file(
    request: Request, user: Writer, adapters: AdaptersDep, settings: SettingsDep, creation: CreationDep
) -> File:
    """Upload a file of a format that is read. It stays until it is deleted, or until it expires where that is asked for."""
    file = FileId(new_id())
    received = await receive(request, adapters.blobs, file_key(file), limit=settings.max_upload_bytes)
    moment, life = now(), lifetime(received.expires_seconds)
    row = {
        "id": file,
        "owner_id": user.id,
        "name": received.name,
        "purpose": received.purpose,
        "format": received.format,
        "content_type": received.content_type,
        "size_bytes": received.size_bytes,
        "sha256": received.sha256,
        "created_at": moment,
        "expires_at": None if life is None else moment + life,
    }
    content = f"{received.name}\0{received.purpose}\0{received.sha256}\0{received.expires_seconds}".encode()
    try:
        async with transaction(adapters.engine) as connection:
            await creation.claim(
                connection, user.id, lambda made: files.read(connection, user.id, FileId(made)), content=content
            )
            shown = File.of(await files.add(connection, row))
            return await creation.keep(connection, user.id, 200, shown, content=content)
    except (DomainError, Replay):
        # Any other failure may have come after the commit: then the bytes are needed.
        await adapters.blobs.delete_prefix(file_prefix(file))
        raise


@router.get("", summary="List files", responses=responses())
async def list_files(
    user: Reader,
    connection: TransactionDep,
    page: LongPageDep,
    purpose: Annotated[Clean | None, Query(max_length=100, description="Only those of this purpose.")] = None,
) -> Listed[File]:
    """List the files that were uploaded here. Documents that came in by another door are in their vector store."""
    rows, more = await page.fetch(
        connection,
        user.id,
        lambda id_: files.read(connection, user.id, FileId(id_)),
        lambda window: files.page(connection, user.id, window, purpose=purpose),
    )
    return listed([File.of(row) for row in rows], more)


@router.get("/{file_id}", summary="See a file", responses=responses(404))
async def get_file(file_id: PathId, user: Reader, connection: TransactionDep) -> File:
    """See a file; a document's id is one, too."""
    try:
        return File.of(await files.read(connection, user.id, FileId(file_id)))
    except NotFound:
        return File.of_document(await _document(connection, user.id, file_id))


@router.get(
    "/{file_id}/content",
    summary="Download a file",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "description": "The bytes as they were uploaded.",
        },
        **responses(404),
    },
)
async def get_file_content(file_id: PathId, user: Reader, adapters: AdaptersDep) -> StreamingResponse:
    """Download the bytes as they were uploaded."""
    async with transaction(adapters.engine) as connection:
        try:
            row, key = await files.read(connection, user.id, FileId(file_id)), file_key(FileId(file_id))
        except NotFound:
            await _document(connection, user.id, file_id)
            row = await documents.source_of(connection, user.id, DocumentId(file_id))
            key = source_key(DocumentId(file_id), IngestionId(row.source_ingestion_id))
    return await download(adapters.blobs, key, row)


@router.delete("/{file_id}", summary="Delete a file", responses=responses(404))
async def delete_file(file_id: PathId, user: Writer, adapters: AdaptersDep) -> FileDeleted:
    """Delete a file, and the documents that it became in vector stores. They are out of search at once."""
    refs: list[DeletionRef] = []
    async with transaction(adapters.engine) as connection:
        for document in await _forgotten(connection, user.id, file_id):
            ref, _ = await document_requests.delete(connection, user.id, document, now=now())
            refs.append(ref)
    for ref in refs:
        await started(runs.start_deletion(adapters.temporal, ref))
    await adapters.blobs.delete_prefix(file_prefix(FileId(file_id)))
    return FileDeleted(id=str(file_id))


async def _forgotten(connection: AsyncConnection, owner: UserId, file_id: UUID) -> list[DocumentId]:
    """Delete a file's row, and name the documents that go with it. Raises `NotFound`."""
    try:
        row = await files.read(connection, owner, FileId(file_id), lock=True)
    except NotFound:
        await _document(connection, owner, file_id)
        return [DocumentId(file_id)]
    await list_edges.leave(connection, owner, file_id, row)
    return await files.remove(connection, FileId(file_id))


async def _document(connection: AsyncConnection, owner: UserId, file_id: UUID) -> Row[tuple[object, ...]]:
    try:
        row = await documents.read(connection, owner, DocumentId(file_id))
    except NotFound:
        raise files.no_file() from None
    if row.status == DocumentStatus.DELETING:
        raise files.no_file()
    return row
