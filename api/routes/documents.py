"""Documents: reading, listing, deleting."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from adapters.clock import now
from adapters.postgres import bots, document_chunks, document_requests, documents
from adapters.postgres.engine import transaction
from adapters.temporal import runs
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.downloads import download
from api.errors import responses
from api.pagination import ListingDep
from api.schemas.base import Clean, ListOf
from api.schemas.deletions import Deletion
from api.schemas.documents import Chunk, Document, DocumentChange
from api.starting import started
from domain.blobs import source_key
from domain.documents import DocumentStatus
from domain.filters import DocumentFilter, read_condition
from domain.ids import BotId, DocumentId, ImportId, IngestionId
from domain.moments import Moment

router = APIRouter(tags=["Documents"])


@router.get("/bots/{bot_id}/documents", summary="List documents", responses=responses(401, 403, 404))
async def list_documents(
    bot_id: UUID,
    user: Reader,
    connection: TransactionDep,
    listing: ListingDep,
    status: Annotated[DocumentStatus | None, Query(description="Only those in this state.")] = None,
    name: Annotated[Clean | None, Query(max_length=255, description="A part of the name, in any case.")] = None,
    import_id: Annotated[UUID | None, Query(description="Only those of this import.")] = None,
    metadata: Annotated[
        Clean | None,
        Query(max_length=8000, description="Only those that meet it: JSON as in a search's `filter.metadata`."),
    ] = None,
    created_after: Annotated[Moment | None, Query(description="Only those accepted then or later.")] = None,
    created_before: Annotated[Moment | None, Query(description="Only those accepted before.")] = None,
) -> ListOf[Document]:
    """List a bot's documents, from the moment that they are accepted."""
    await bots.read(connection, user.id, BotId(bot_id))
    within = DocumentFilter(
        metadata={} if metadata is None else read_condition(metadata, param="metadata"),
        created_after=created_after,
        created_before=created_before,
    )
    bound = listing.of("documents", user.id, bot_id, status, name, import_id, within.model_dump_json())
    brought_by = None if import_id is None else ImportId(import_id)
    rows = await documents.page(
        connection, user.id, BotId(bot_id), bound.window, status=status, name=name, import_id=brought_by, within=within
    )
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=Document.of)


@router.get("/documents/{document_id}", summary="See a document", responses=responses(401, 403, 404))
async def get_document(document_id: UUID, user: Reader, connection: TransactionDep) -> Document:
    """See one document: its state, its progress, and why it stands still."""
    return Document.of(await documents.read(connection, user.id, DocumentId(document_id)))


@router.patch("/documents/{document_id}", summary="Change a document", responses=responses(400, 401, 403, 404))
async def update_document(
    document_id: UUID, body: DocumentChange, user: Writer, connection: TransactionDep
) -> Document:
    """Replace the metadata. Filters go by it from now on; nothing is ingested again."""
    return Document.of(await documents.describe(connection, user.id, DocumentId(document_id), body.metadata))


@router.get(
    "/documents/{document_id}/content",
    summary="Download a document",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "description": "The bytes as they were uploaded.",
        },
        **responses(401, 403, 404),
    },
)
async def get_document_content(document_id: UUID, user: Reader, adapters: AdaptersDep) -> StreamingResponse:
    """Download the bytes as they were uploaded."""
    async with transaction(adapters.engine) as connection:
        row = await documents.source_of(connection, user.id, DocumentId(document_id))
    key = source_key(DocumentId(document_id), IngestionId(row.source_ingestion_id))
    return await download(adapters.blobs, key, row)


@router.get("/documents/{document_id}/chunks", summary="List a document's chunks", responses=responses(401, 403, 404))
async def list_chunks(
    document_id: UUID, user: Reader, connection: TransactionDep, listing: ListingDep
) -> ListOf[Chunk]:
    """List the chunks of the version that answers, by their place; none before one is ready."""
    row = await documents.read(connection, user.id, DocumentId(document_id))
    bound = listing.of("chunks", user.id, document_id, row.active_ingestion_id)
    found = (
        await document_chunks.page(connection, IngestionId(row.active_ingestion_id), bound.window)
        if row.active_ingestion_id is not None
        else []
    )
    return bound.page(found, key=lambda chunk: (chunk.ordinal,), render=Chunk.of)


@router.delete(
    "/documents/{document_id}", status_code=202, summary="Delete a document", responses=responses(401, 403, 404)
)
async def delete_document(document_id: UUID, user: Writer, adapters: AdaptersDep) -> Deletion:
    """Delete a document. It is out of search at once; what runs is stopped, then all of it is purged."""
    async with transaction(adapters.engine) as connection:
        ref, receipt = await document_requests.delete(connection, user.id, DocumentId(document_id), now=now())
    await started(runs.start_deletion(adapters.temporal, ref))
    return Deletion.of(receipt)
