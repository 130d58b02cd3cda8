"""Files of a vector store, one by one and in batches: a bot's documents."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import bots, document_requests, documents, files, list_edges, vector_stores
from adapters.postgres.engine import transaction
from adapters.temporal import runs
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.idempotency import OnceDep
from api.openai.attaching import attach
from api.openai.creation import CreationDep
from api.openai.errors import responses
from api.openai.ids import PathId
from api.openai.pages import Asked, PageDep, listed
from api.openai.schemas.base import Listed
from api.openai.schemas.vector_stores import (
    AttributesBody,
    Batch,
    BatchBody,
    BatchFile,
    FileStatus,
    StoreFile,
    StoreFileBody,
    StoreFileDeleted,
)
from api.openai.store_objects import STATUSES, batch_of, file_of
from api.starting import started
from domain.errors import InvalidRequest, NotFound, StateConflict
from domain.filters import checked_metadata
from domain.ids import BotId, DocumentId, FileBatchId, FileId, UserId
from domain.runs import ingestion_run

router = APIRouter(prefix="/vector_stores/{vector_store_id}", tags=["OpenAI"])

FilterDep = Annotated[FileStatus | None, Query(alias="filter", description="Only those in this state.")]


@router.post("/files", summary="Give a vector store a file", responses=responses(404, 409))
async def create_store_file(
    vector_store_id: PathId, body: StoreFileBody, user: Writer, adapters: AdaptersDep, once: OnceDep
) -> StoreFile:
    """Let the bot have a file: it becomes a document, and is found once its status is `completed`."""
    bot = BotId(vector_store_id)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
    attributes = None if body.attributes is None else checked_metadata(body.attributes, param="attributes")
    row = await attach(adapters, user.id, bot, body.file_id, attributes)
    async with transaction(adapters.engine) as connection:
        return await once.keep(connection, user.id, 200, await _file(connection, user.id, bot, body.file_id, row.id))


@router.get("/files", summary="List a vector store's files", responses=responses(404))
async def list_store_files(
    vector_store_id: PathId, user: Reader, connection: TransactionDep, page: PageDep, status: FilterDep = None
) -> Listed[StoreFile]:
    """List the bot's documents."""
    bot = BotId(vector_store_id)
    await bots.read(connection, user.id, bot)
    return await _page(connection, user.id, bot, page, status)


@router.get("/files/{file_id}", summary="See a file of a vector store", responses=responses(404))
async def get_store_file(
    vector_store_id: PathId, file_id: PathId, user: Reader, connection: TransactionDep
) -> StoreFile:
    """See where a document stands, and why it stands still."""
    return await _file(connection, user.id, BotId(vector_store_id), file_id)


@router.post("/files/{file_id}", summary="Describe a file of a vector store", responses=responses(404))
async def update_store_file(
    vector_store_id: PathId,
    file_id: PathId,
    body: AttributesBody,
    user: Writer,
    connection: TransactionDep,
    once: OnceDep,
) -> StoreFile:
    """Replace the attributes, by which a search can be filtered."""
    bot = BotId(vector_store_id)
    await once.claim(connection, user.id)
    document = await _document(connection, user.id, bot, file_id)
    attributes = checked_metadata(body.attributes or {}, param="attributes")
    await documents.describe(connection, user.id, document, attributes)
    return await once.keep(connection, user.id, 200, await _file(connection, user.id, bot, file_id))


@router.delete("/files/{file_id}", summary="Take a file from a vector store", responses=responses(404))
async def delete_store_file(
    vector_store_id: PathId, file_id: PathId, user: Writer, adapters: AdaptersDep
) -> StoreFileDeleted:
    """Delete the document, unless it came as another file as well, or by an upload. It is out of search at once.

    The file that it was made of stays.
    """
    bot = BotId(vector_store_id)
    async with transaction(adapters.engine) as connection:
        document = await _document(connection, user.id, bot, file_id)
        row = await documents.read(connection, user.id, document, lock=True)  # no other file becomes it meanwhile
        await list_edges.leave(connection, bot, file_id, row)
        if await files.unlink(connection, document, file_id):
            return StoreFileDeleted(id=str(file_id))
        ref, _ = await document_requests.delete(connection, user.id, document, now=now())
    await started(runs.start_deletion(adapters.temporal, ref))
    return StoreFileDeleted(id=str(file_id))


@router.post("/file_batches", summary="Give a vector store many files", responses=responses(404, 409))
async def create_file_batch(
    vector_store_id: PathId, body: BatchBody, user: Writer, adapters: AdaptersDep, creation: CreationDep
) -> Batch:
    """Let the bot have files together. Should this break off, some have become documents; the same again adds the others."""
    bot = BotId(vector_store_id)
    wanted = body.wanted()
    if not wanted:
        raise InvalidRequest("Name the files of the batch.", param="file_ids")
    async with transaction(adapters.engine) as connection:
        await creation.claim(connection, user.id, lambda _: _all_there(connection, user.id, bot, wanted))
        await bots.read(connection, user.id, bot)
        for each in wanted:
            if await files.document_in(connection, user.id, bot, each.file_id) is None:
                await files.read(connection, user.id, FileId(each.file_id))
    made: list[DocumentId] = []
    for each in wanted:
        attributes = None if each.attributes is None else checked_metadata(each.attributes, param="attributes")
        made.append(DocumentId((await attach(adapters, user.id, bot, each.file_id, attributes)).id))
    async with transaction(adapters.engine) as connection:
        batch = FileBatchId(new_id())
        await vector_stores.add_batch(connection, user.id, bot, batch, made)
        return await creation.keep(connection, user.id, 200, await _batch(connection, user.id, bot, batch))


@router.get("/file_batches/{batch_id}", summary="See a batch", responses=responses(404))
async def get_file_batch(vector_store_id: PathId, batch_id: PathId, user: Reader, connection: TransactionDep) -> Batch:
    """See where the documents of a batch stand."""
    return await _batch(connection, user.id, BotId(vector_store_id), FileBatchId(batch_id))


@router.post("/file_batches/{batch_id}/cancel", summary="Stop a batch", responses=responses(404))
async def cancel_file_batch(
    vector_store_id: PathId, batch_id: PathId, user: Writer, adapters: AdaptersDep, once: OnceDep
) -> Batch:
    """Stop the documents that are not ready yet; those that are stay."""
    bot, batch = BotId(vector_store_id), FileBatchId(batch_id)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        await vector_stores.read_batch(connection, user.id, bot, batch)
        await vector_stores.cancel_batch(connection, batch)
        statuses = await vector_stores.batch_statuses(connection, batch)
    for document, status in statuses.items():
        if STATUSES.get(status) == "in_progress":
            await _stop(adapters, user.id, document)
    async with transaction(adapters.engine) as connection:
        return await once.keep(connection, user.id, 200, await _batch(connection, user.id, bot, batch))


@router.get("/file_batches/{batch_id}/files", summary="List a batch's files", responses=responses(404))
async def list_batch_files(
    vector_store_id: PathId,
    batch_id: PathId,
    user: Reader,
    connection: TransactionDep,
    page: PageDep,
    status: FilterDep = None,
) -> Listed[StoreFile]:
    """List the documents of a batch."""
    bot, batch = BotId(vector_store_id), FileBatchId(batch_id)
    await vector_stores.read_batch(connection, user.id, bot, batch)
    return await _page(connection, user.id, bot, page, status, batch)


async def _all_there(connection: AsyncConnection, owner: UserId, bot: BotId, wanted: Sequence[BatchFile]) -> None:
    """Make sure that the store has all files of a batch. Raises `NotFound`."""
    for each in wanted:
        if await files.document_in(connection, owner, bot, each.file_id) is None:
            raise files.no_file()


async def _stop(adapters: Adapters, owner: UserId, document: DocumentId) -> None:
    try:
        async with transaction(adapters.engine) as connection:
            asked = await document_requests.cancel(connection, owner, document, now=now())
    except (NotFound, StateConflict):
        return  # it has ended meanwhile, or was deleted
    if asked.cancel_run is not None:
        stopping = runs.cancel_run(adapters.temporal, ingestion_run(document), run_id=asked.cancel_run)
        await started(stopping)


async def _page(
    connection: AsyncConnection,
    owner: UserId,
    bot: BotId,
    page: Asked,
    status: FileStatus | None,
    batch: FileBatchId | None = None,
) -> Listed[StoreFile]:
    wanted = [each for each, shown in STATUSES.items() if status in (None, shown)]
    rows, more = await page.fetch(
        connection,
        bot,
        lambda id_: _row(connection, owner, bot, id_),
        lambda window: vector_stores.page(connection, owner, bot, window, statuses=wanted, batch=batch),
    )
    names = await files.names(connection, [row.id for row in rows])
    return listed([file_of(row, names[row.id]) for row in rows], more)


async def _row(connection: AsyncConnection, owner: UserId, bot: BotId, file_id: UUID) -> Row[Any]:
    return await documents.read(connection, owner, await _document(connection, owner, bot, file_id))


async def _file(
    connection: AsyncConnection, owner: UserId, bot: BotId, file_id: UUID, document: UUID | None = None
) -> StoreFile:
    """Show a document by the id that it was asked for."""
    found = DocumentId(document) if document else await _document(connection, owner, bot, file_id)
    return file_of(await documents.read(connection, owner, found), file_id)


async def _document(connection: AsyncConnection, owner: UserId, bot: BotId, file_id: UUID) -> DocumentId:
    await bots.read(connection, owner, bot)
    found = await files.document_in(connection, owner, bot, file_id)
    if found is None:
        raise files.no_file()
    return found


async def _batch(connection: AsyncConnection, owner: UserId, bot: BotId, batch: FileBatchId) -> Batch:
    row = await vector_stores.read_batch(connection, owner, bot, batch)
    return batch_of(row, (await vector_stores.batch_statuses(connection, batch)).values())
