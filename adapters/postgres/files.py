"""Files of OpenAI's API, and the documents that they became. A document that no file became is a file of its own."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, documents, file_documents, files
from domain.documents import DocumentStatus
from domain.errors import NotFound
from domain.ids import BotId, DocumentId, FileId, UserId


def no_file() -> NotFound:
    """Say the same of an id that never was, is gone, or is another owner's."""
    return NotFound("You have no file of this id.")


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> Row[Any]:
    """Store a file whose bytes lie in the blob store."""
    return (await connection.execute(insert(files).values(dict(row)).returning(*files.c))).one()


async def read(connection: AsyncConnection, owner: UserId, file: FileId, *, lock: bool = False) -> Row[Any]:
    """Read a file. Raises `NotFound`; with `lock`, holds it against deletion and against becoming a document twice."""
    query = select(files).where(_is(owner, file))
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise no_file()
    return row


async def page(connection: AsyncConnection, owner: UserId, window: Window, *, purpose: str | None) -> list[Row[Any]]:
    """List an owner's files."""
    query = select(files).where(files.c.owner_id == owner, ~_expired())
    if purpose is not None:
        query = query.where(files.c.purpose == purpose)
    return list(await connection.execute(keyset(query, [files.c.created_at, files.c.id], window)))


async def remove(connection: AsyncConnection, file: FileId) -> list[DocumentId]:
    """Delete a file's row; give the documents that go with it: those that came in as this file and no other way."""
    gone = await linked_documents(connection, file)
    await connection.execute(delete(files).where(files.c.id == file))
    became = exists().where(file_documents.c.document_id == documents.c.id)
    alone = select(documents.c.id).where(documents.c.id.in_(gone), documents.c.of_files, ~became)
    # An upload of the same bytes at this moment is waited for, or waits and makes a document of its own.
    locked = alone.order_by(documents.c.id).with_for_update(of=documents)
    return [DocumentId(id_) for id_ in await connection.scalars(locked)]


async def linked_documents(connection: AsyncConnection, file: FileId) -> list[DocumentId]:
    """Give the documents that a file became."""
    query = select(file_documents.c.document_id).join(documents).where(
        file_documents.c.file_id == file, documents.c.status != DocumentStatus.DELETING
    )  # fmt: skip
    return [DocumentId(id_) for id_ in await connection.scalars(query.order_by(file_documents.c.document_id))]


async def link(connection: AsyncConnection, file: FileId, bot: BotId, document: DocumentId) -> None:
    """Remember what a file became; a document that is being deleted gives way."""
    row = postgresql.insert(file_documents).values(file_id=file, bot_id=bot, document_id=document)
    changed = row.on_conflict_do_update(index_elements=["file_id", "bot_id"], set_={"document_id": document})
    await connection.execute(changed)


async def keep(connection: AsyncConnection, those: Collection[DocumentId]) -> None:
    """Let documents stay when the files go that they came as: their bytes came by another door as well."""
    mine = documents.c.id.in_(those) & documents.c.of_files
    await connection.execute(update(documents).where(mine).values(of_files=False))


async def unlink(connection: AsyncConnection, document: DocumentId, file: UUID) -> bool:
    """Forget that a file became a document; tell whether it stays, since it came in as another file, or another way.

    By the document's own id all files are forgotten, and it goes.
    """
    became = file_documents.c.document_id == document
    gone = became if file == document else became & (file_documents.c.file_id == file)
    await connection.execute(delete(file_documents).where(gone))
    if file == document:
        return False
    another = exists().where(file_documents.c.document_id == documents.c.id)
    stays = select(~documents.c.of_files | another).where(documents.c.id == document)
    return bool(await connection.scalar(stays))


async def document_in(connection: AsyncConnection, owner: UserId, bot: BotId, file: UUID) -> DocumentId | None:
    """Find the document that a file became in a bot, or that has the id itself."""
    became = select(file_documents.c.document_id).where(
        file_documents.c.file_id == file, file_documents.c.bot_id == bot
    )
    query = (
        select(documents.c.id)
        .join(bots, bots.c.id == documents.c.bot_id)
        .where(documents.c.bot_id == bot, documents.c.owner_id == owner, bots.c.deleting_at.is_(None))
        .where(documents.c.status != DocumentStatus.DELETING)
        .where(or_(documents.c.id == file, documents.c.id == became.scalar_subquery()))
    )
    found = (await connection.execute(query)).scalars().first()
    return None if found is None else DocumentId(found)


async def names(connection: AsyncConnection, those: Iterable[UUID]) -> dict[UUID, UUID]:
    """Give each document the id that it has as a file: that of the first file that became it, else its own."""
    wanted = list(those)
    query = (
        select(file_documents.c.document_id, file_documents.c.file_id)
        .where(file_documents.c.document_id.in_(wanted))
        .order_by(file_documents.c.created_at.desc(), file_documents.c.file_id)
    )
    rows = list(await connection.execute(query)) if wanted else []
    return {document: document for document in wanted} | {row.document_id: row.file_id for row in rows}


def _is(owner: UserId, file: FileId) -> ColumnElement[bool]:
    return (files.c.id == file) & (files.c.owner_id == owner) & ~_expired()


def _expired() -> ColumnElement[bool]:
    return files.c.expires_at.is_not(None) & (files.c.expires_at <= func.now())
