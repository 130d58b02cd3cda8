"""A bot's documents as a vector store's files: counted, listed, in batches."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, documents, file_batch_documents, file_batches
from domain.documents import DocumentStatus
from domain.errors import NotFound
from domain.ids import BotId, DocumentId, FileBatchId, UserId

Counts = dict[DocumentStatus, tuple[int, int]]
"""By status: how many documents, and their bytes."""


async def counts(connection: AsyncConnection, those: Collection[BotId]) -> Mapping[BotId, Counts]:
    """Count the documents of bots by their status."""
    query = (
        select(documents.c.bot_id, documents.c.status, func.count().label("number"), func.sum(documents.c.size_bytes).label("bytes"))
        .where(documents.c.bot_id.in_(those), documents.c.status != DocumentStatus.DELETING)
        .group_by(documents.c.bot_id, documents.c.status)
    )  # fmt: skip
    found: dict[BotId, Counts] = {bot: {} for bot in those}
    for row in await connection.execute(query):
        found[BotId(row.bot_id)][DocumentStatus(row.status)] = (row.number, int(row.bytes))
    return found


async def page(
    connection: AsyncConnection,
    owner: UserId,
    bot: BotId,
    window: Window,
    *,
    statuses: Collection[DocumentStatus] = (),
    batch: FileBatchId | None = None,
) -> list[Row[Any]]:
    """List a bot's documents, or those of a batch, in some states."""
    query = _visible(owner, bot)
    if statuses:
        query = query.where(documents.c.status.in_(statuses))
    if batch is not None:
        query = query.where(documents.c.id.in_(_documents_of(batch)))
    return list(await connection.execute(keyset(query, [documents.c.created_at, documents.c.id], window)))


async def add_batch(
    connection: AsyncConnection, owner: UserId, bot: BotId, batch: FileBatchId, those: Sequence[DocumentId]
) -> Row[Any]:
    """Remember which documents came together."""
    row = {"id": batch, "owner_id": owner, "bot_id": bot}
    made = (await connection.execute(insert(file_batches).values(row).returning(*file_batches.c))).one()
    items = [{"batch_id": batch, "document_id": document} for document in sorted(set(those))]
    await connection.execute(insert(file_batch_documents), items)
    return made


async def read_batch(connection: AsyncConnection, owner: UserId, bot: BotId, batch: FileBatchId) -> Row[Any]:
    """Read a batch. Raises `NotFound`."""
    query = (
        select(file_batches)
        .join(bots, bots.c.id == file_batches.c.bot_id)
        .where(file_batches.c.id == batch, file_batches.c.owner_id == owner, file_batches.c.bot_id == bot)
        .where(bots.c.deleting_at.is_(None))
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("You have no batch of this id.")
    return row


async def cancel_batch(connection: AsyncConnection, batch: FileBatchId) -> None:
    """Date the wish to stop it; the first date stays."""
    first = func.coalesce(file_batches.c.cancelled_at, func.now())
    await connection.execute(update(file_batches).where(file_batches.c.id == batch).values(cancelled_at=first))


async def batch_statuses(connection: AsyncConnection, batch: FileBatchId) -> dict[DocumentId, DocumentStatus]:
    """Tell where a batch's documents stand."""
    query = select(documents.c.id, documents.c.status).where(documents.c.id.in_(_documents_of(batch)))
    return {DocumentId(row.id): DocumentStatus(row.status) for row in await connection.execute(query)}


def _documents_of(batch: FileBatchId) -> Select[Any]:
    return select(file_batch_documents.c.document_id).where(file_batch_documents.c.batch_id == batch)


def _visible(owner: UserId, bot: BotId) -> Select[Any]:
    return (
        select(documents)
        .join(bots, bots.c.id == documents.c.bot_id)
        .where(documents.c.owner_id == owner, documents.c.bot_id == bot, bots.c.deleting_at.is_(None))
        .where(documents.c.status != DocumentStatus.DELETING)
    )
