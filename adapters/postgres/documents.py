"""Documents as readers see them: one, lists, chunks, the flight record, receipts."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, Text, cast, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, chunks, deletions, documents, ingestion_steps, ingestions
from domain.documents import DocumentStatus
from domain.errors import NotFound
from domain.filters import EVERYTHING, DocumentFilter, Metadata
from domain.ids import BotId, DocumentId, ImportId, IngestionId, UserId


def no_document() -> NotFound:
    """Say the same of an id that never was, is gone, or is another owner's."""
    return NotFound("You have no document of this id.")


async def read(connection: AsyncConnection, owner: UserId, document: DocumentId, *, lock: bool = False) -> Row[Any]:
    """Read an owner's document. Raises `NotFound`; with `lock`, holds it against other writers."""
    query = _visible(owner).where(documents.c.id == document)
    row: Row[Any] | None = (
        await connection.execute(query.with_for_update(of=documents) if lock else query)
    ).one_or_none()
    if row is None:
        raise no_document()
    return row


async def page(
    connection: AsyncConnection,
    owner: UserId,
    bot: BotId,
    window: Window,
    *,
    status: DocumentStatus | None = None,
    name: str | None = None,
    import_id: ImportId | None = None,
    within: DocumentFilter = EVERYTHING,
) -> list[Row[Any]]:
    """List a bot's documents; `name` finds a part of the name in any case."""
    query = _visible(owner).where(documents.c.bot_id == bot)
    if status is not None:
        query = query.where(documents.c.status == status)
    if name is not None:
        query = query.where(documents.c.name.icontains(name, autoescape=True))
    if import_id is not None:
        query = query.where(documents.c.import_id == import_id)
    query = _meeting(query, within)
    return list(await connection.execute(keyset(query, [documents.c.created_at, documents.c.id], window)))


async def describe(connection: AsyncConnection, owner: UserId, document: DocumentId, metadata: Metadata) -> Row[Any]:
    """Replace a document's metadata. Raises `NotFound`, also for one that is being deleted."""
    row = await read(connection, owner, document, lock=True)
    if row.status == DocumentStatus.DELETING:
        raise no_document()
    await connection.execute(update(documents).where(documents.c.id == document).values(metadata=metadata))
    return await read(connection, owner, document)


async def described(
    connection: AsyncConnection, owner: UserId, those: Collection[DocumentId]
) -> dict[DocumentId, Metadata]:
    """Give the metadata of those documents that are there."""
    query = select(documents.c.id, documents.c.metadata).where(
        documents.c.id.in_(those), documents.c.owner_id == owner, documents.c.status != DocumentStatus.DELETING
    )
    return {DocumentId(row.id): row.metadata for row in await connection.execute(query)}


async def source_of(connection: AsyncConnection, owner: UserId, document: DocumentId) -> Row[Any]:
    """Find the version whose bytes the document shows. Raises `NotFound`, also for one that is being deleted."""
    query = (
        _visible(owner)
        .add_columns(ingestions.c.id.label("source_ingestion_id"))
        .join(
            ingestions,
            (ingestions.c.document_id == documents.c.id) & (ingestions.c.version == documents.c.version),
        )
        .where(documents.c.id == document, documents.c.status != DocumentStatus.DELETING)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise no_document()
    return row


async def read_ingestion(connection: AsyncConnection, ingestion: IngestionId) -> Row[Any]:
    """Read an ingestion whose document the caller may see."""
    return (await connection.execute(select(ingestions).where(ingestions.c.id == ingestion))).one()


async def state_of(connection: AsyncConnection, ingestion: IngestionId) -> tuple[str, int]:
    """Tell an ingestion's status and epoch. Raises `NoResultFound` where it is gone."""
    query = select(ingestions.c.status, ingestions.c.epoch).where(ingestions.c.id == ingestion)
    row = (await connection.execute(query)).one()
    return row.status, row.epoch


async def steps_of(connection: AsyncConnection, ingestion: IngestionId) -> list[Row[Any]]:
    """List what an ingestion's steps took, in the order of their first attempts."""
    query = select(ingestion_steps).where(ingestion_steps.c.ingestion_id == ingestion)
    order = (ingestion_steps.c.first_started_at, ingestion_steps.c.step, ingestion_steps.c.part)
    return list(await connection.execute(query.order_by(*order)))


async def refused_chunks(connection: AsyncConnection, ingestion: IngestionId, *, limit: int) -> list[Row[Any]]:
    """List chunks that the model would not embed, the first ones only."""
    shown = (chunks.c.id, chunks.c.ordinal, chunks.c.page_from, chunks.c.embedding_error)
    refused = (chunks.c.ingestion_id == ingestion) & chunks.c.embedding_error.is_not(None)
    return list(await connection.execute(select(*shown).where(refused).order_by(chunks.c.ordinal).limit(limit)))


async def read_deletion(connection: AsyncConnection, owner: UserId, deletion: UUID) -> Row[Any]:
    """Read a receipt. Raises `NotFound`."""
    query = select(deletions).where(deletions.c.id == deletion, deletions.c.owner_id == owner)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("You have deleted nothing of this id.")
    return row


async def count_by_status(connection: AsyncConnection) -> dict[str, int]:
    """Count all owners' documents, for operators."""
    query = select(documents.c.status, func.count().label("number")).group_by(documents.c.status)
    found: dict[str, int] = {row.status: row.number for row in await connection.execute(query)}
    return {status: found.get(status, 0) for status in DocumentStatus}


async def notify(connection: AsyncConnection, document: DocumentId) -> None:
    """Wake who watches the document, when the transaction commits."""
    await connection.execute(select(func.pg_notify(literal_column("'documents'"), str(document))))


def _meeting(query: Select[Any], within: DocumentFilter) -> Select[Any]:
    path = within.metadata_path()
    if path is not None:
        query = query.where(documents.c.metadata.op("@@")(cast(cast(path, Text), JSONPATH)))
    if within.created_after is not None:
        query = query.where(documents.c.created_at >= within.created_after)
    if within.created_before is not None:
        query = query.where(documents.c.created_at < within.created_before)
    return query


def _visible(owner: UserId) -> Select[Any]:
    return (
        select(documents)
        .join(bots, bots.c.id == documents.c.bot_id)
        .where(documents.c.owner_id == owner, bots.c.owner_id == owner, bots.c.deleting_at.is_(None))
    )
