"""Vector stores: bots, made, listed, changed, deleted, searched."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import bots, documents, files, list_edges, vector_stores
from adapters.postgres.engine import transaction
from adapters.postgres.search import search
from adapters.temporal import runs
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.idempotency import OnceDep, Replay
from api.openai.attaching import Copy, accept, begin, copied, forget
from api.openai.creation import CreationDep
from api.openai.errors import responses
from api.openai.ids import PathId
from api.openai.pages import PageDep, listed
from api.openai.schemas.base import Listed
from api.openai.schemas.vector_stores import (
    FoundFile,
    FoundFiles,
    FoundText,
    StoreBody,
    StoreChange,
    StoreDeleted,
    StoreSearchBody,
    VectorStore,
)
from api.openai.store_objects import attributes_of, store_of
from api.schemas.bots import BotBody
from api.starting import started
from domain.bots import Bot
from domain.errors import DomainError, NotFound
from domain.file_filters import read_filter
from domain.filters import DocumentFilter
from domain.ids import BotId, ChunkId, FileId, UserId
from domain.retrieval import Hit, SearchMode
from domain.steps import DeletionRef

router = APIRouter(prefix="/vector_stores", tags=["OpenAI"])


@router.post("", summary="Make a vector store", responses=responses(404, 409))
async def create_vector_store(
    body: StoreBody, user: Writer, adapters: AdaptersDep, creation: CreationDep
) -> VectorStore:
    """Make a bot with the default settings, and let it have files; its id is a model's as well.

    It comes with all its files, or not at all.
    """
    made = BotBody(name=body.name or "Vector store", description=body.description or "").model_dump(mode="json")
    bot = BotId(new_id())
    row = {"id": bot, "owner_id": user.id, **made, "metadata": body.metadata or {}}
    async with transaction(adapters.engine) as connection:
        await creation.claim(connection, user.id, lambda made: _told_apart(connection, user.id, body, BotId(made)))
    copies: list[Copy] = []
    try:
        for file in sorted(set(body.file_ids or [])):  # in one order, since two at once lock the same files
            copy = await copied(adapters, user.id, FileId(file))
            copies.append(copy)
        async with transaction(adapters.engine) as connection:
            await bots.add(connection, row)
            accepted = [await accept(connection, user.id, bot, copy) for copy in copies]
            shown = await creation.keep(connection, user.id, 200, await _show(connection, user.id, bot))
    except (DomainError, Replay):
        # Any other failure may have come after the commit: then the bytes are needed.
        await forget(adapters, copies)
        raise
    for copy, each in zip(copies, accepted, strict=True):
        await begin(adapters, copy, each)
    return shown


@router.get("", summary="List vector stores", responses=responses())
async def list_vector_stores(user: Reader, connection: TransactionDep, page: PageDep) -> Listed[VectorStore]:
    """List your bots."""
    rows, more = await page.fetch(
        connection,
        user.id,
        lambda id_: bots.read(connection, user.id, BotId(id_)),
        lambda window: bots.page(connection, user.id, window),
    )
    counted = await vector_stores.counts(connection, [BotId(row.id) for row in rows])
    return listed([store_of(row, counted[BotId(row.id)]) for row in rows], more)


@router.get("/{vector_store_id}", summary="See a vector store", responses=responses(404))
async def get_vector_store(vector_store_id: PathId, user: Reader, connection: TransactionDep) -> VectorStore:
    """See one bot, and where its documents stand."""
    return await _show(connection, user.id, BotId(vector_store_id))


@router.post("/{vector_store_id}", summary="Change a vector store", responses=responses(404))
async def update_vector_store(
    vector_store_id: PathId, body: StoreChange, user: Writer, connection: TransactionDep, once: OnceDep
) -> VectorStore:
    """Change the name or the metadata. Everything else of a bot is changed at /api/v1."""
    await once.claim(connection, user.id)
    values = body.model_dump(exclude_none=True)
    bot = BotId(vector_store_id)
    if values:
        await bots.change(connection, user.id, bot, values)
    return await once.keep(connection, user.id, 200, await _show(connection, user.id, bot))


@router.delete("/{vector_store_id}", summary="Delete a vector store", responses=responses(404))
async def delete_vector_store(vector_store_id: PathId, user: Writer, adapters: AdaptersDep) -> StoreDeleted:
    """Delete a bot with its documents and conversations. Files that were uploaded here stay."""
    bot = BotId(vector_store_id)
    async with transaction(adapters.engine) as connection:
        await list_edges.leave(connection, user.id, bot, await bots.read(connection, user.id, bot))
        await bots.begin_deletion(connection, user.id, bot, now=now())
    await started(runs.start_deletion(adapters.temporal, DeletionRef(owner_id=user.id, bot_id=bot)))
    return StoreDeleted(id=str(bot))


@router.post("/{vector_store_id}/search", summary="Search a vector store", responses=responses(404, 429, 502))
async def search_vector_store(
    vector_store_id: PathId, body: StoreSearchBody, user: Reader, adapters: AdaptersDep, once: OnceDep
) -> FoundFiles:
    """Find passages, best first, as the bot's own retrieval finds them."""
    within = read_filter(body.filters)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        bot = await bots.load(connection, user.id, BotId(vector_store_id))
    found: dict[ChunkId, Hit] = {}
    for query in body.query:
        for hit in await _hits(adapters, user.id, bot, query, body.max_num_results, within):
            if hit.chunk_id not in found or found[hit.chunk_id].score < hit.score:
                found[hit.chunk_id] = hit
    best = sorted(found.values(), key=lambda hit: -hit.score)[: body.max_num_results]
    kept = [hit for hit in best if hit.score >= body.ranking_options.score_threshold]
    async with transaction(adapters.engine) as connection:
        shown = FoundFiles(search_query=body.query, data=await _found(connection, user.id, kept))
        return await once.keep(connection, user.id, 200, shown)


async def _hits(
    adapters: Adapters, owner: UserId, bot: Bot, query: str, limit: int, within: DocumentFilter
) -> Sequence[Hit]:
    mode = bot.configuration.retrieval.mode
    vector = None if mode is SearchMode.KEYWORD else await adapters.embedder.embed_query(query)
    async with transaction(adapters.engine) as connection:
        return await search(
            connection,
            owner,
            bot.id,
            query,
            vector,
            embedding_model=adapters.embedder.model,
            mode=mode,
            limit=limit,
            fluency=1.0 if vector is None else adapters.embedder.fluency(query),
            within=within,
        )


async def _found(connection: AsyncConnection, owner: UserId, hits: Sequence[Hit]) -> list[FoundFile]:
    those = {hit.document_id for hit in hits}
    names = await files.names(connection, those)
    described = await documents.described(connection, owner, those)
    return [
        FoundFile(
            file_id=str(names[hit.document_id]),
            filename=hit.document_name,
            score=hit.score,
            attributes=attributes_of(described[hit.document_id]),
            content=[FoundText(text=hit.content)],
            chunk_id=str(hit.chunk_id),
            page=hit.page,
        )
        for hit in hits
        if hit.document_id in described  # else it has gone meanwhile
    ]


async def _told_apart(connection: AsyncConnection, owner: UserId, body: StoreBody, made: BotId) -> None:
    """Make sure that the store is there, and is the one that is asked for. Raises `NotFound`.

    Of two stores with neither name nor files nobody can say that they are one; an empty one too many does no harm.
    """
    if body.name is None and not body.file_ids:
        raise NotFound("Nothing tells this store from others.")
    await bots.read(connection, owner, made)


async def _show(connection: AsyncConnection, owner: UserId, bot: BotId) -> VectorStore:
    row: Row[Any] = await bots.read(connection, owner, bot)
    return store_of(row, (await vector_stores.counts(connection, [bot]))[bot])
