"""What a deletion removes, in statements short enough that a crash may fall between any two.

Each removal counts on the receipt in its own transaction, so that a purge that is run again
neither misses a row nor counts one twice. Nothing here commits.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, delete, func, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import (
    bots,
    conversations,
    crawls,
    deletions,
    document_contents,
    documents,
    imports,
    ingestions,
    turns,
)
from domain.documents import DocumentStatus, IngestionStatus
from domain.ids import BotId, ConversationId, DocumentId, ImportId
from domain.ports import Removed
from domain.steps import DeletionRef, Purged

_OPEN_INGESTIONS = (IngestionStatus.PENDING, IngestionStatus.RUNNING, IngestionStatus.PARKED)
_OPEN_TURNS = ("pending", "running")

_DELETE_CHUNKS = text(
    """
    WITH gone AS (
        DELETE FROM chunks
        WHERE ctid = ANY (ARRAY (SELECT ctid FROM chunks WHERE document_id = ANY (:documents) LIMIT :limit))
        RETURNING 1
    ), counted AS (
        UPDATE deletions SET chunks = chunks + (SELECT count(*) FROM gone), updated_at = now() WHERE id = :deletion
    )
    SELECT count(*) FROM gone
    """
)
_DELETE_PASSAGES = text(
    """
    DELETE FROM turn_passages
    WHERE ctid = ANY (ARRAY (SELECT ctid FROM turn_passages WHERE document_id = ANY (:documents) LIMIT :limit))
    """
)


_DELETE_DOCUMENTS = text(
    """
    WITH held AS (
        SELECT id FROM documents WHERE id = ANY (:documents) ORDER BY id FOR UPDATE
    ), gone AS (
        DELETE FROM documents WHERE id IN (SELECT id FROM held) RETURNING id
    )
    UPDATE deletions
    SET documents = documents + (SELECT count(*) FROM gone),
        pages = pages + (SELECT coalesce(sum(i.pages), 0) FROM ingestions i WHERE i.document_id IN (SELECT id FROM gone)),
        blobs = blobs + :blobs, bytes = bytes + :bytes, updated_at = now()
    WHERE id = :deletion
    """
)


def deletion_id(ref: DeletionRef) -> DocumentId | BotId:
    """Name the receipt: it has the id of what is deleted."""
    return ref.bot_id if ref.document_id is None else ref.document_id


async def open_receipt(connection: AsyncConnection, ref: DeletionRef) -> None:
    """Make sure that there is a receipt to count on; the API has written it, as a rule."""
    row = {"id": deletion_id(ref), "owner_id": ref.owner_id, "bot_id": ref.bot_id, "document_id": ref.document_id}
    await connection.execute(postgresql.insert(deletions).values(row).on_conflict_do_nothing(index_elements=["id"]))


async def begin(connection: AsyncConnection, ref: DeletionRef, *, now: datetime) -> None:
    """Open the receipt, and at the first attempt date it and count what there is to remove."""
    await open_receipt(connection, ref)
    total = select(func.count()).select_from(documents).where(documents.c.bot_id == ref.bot_id).scalar_subquery()
    await connection.execute(
        update(deletions)
        .where(deletions.c.id == deletion_id(ref), deletions.c.started_at.is_(None))
        .values(started_at=now, documents_total=1 if ref.document_id is not None else total, updated_at=now)
    )


async def receipt(connection: AsyncConnection, ref: DeletionRef) -> Purged:
    """Tell what this deletion removed so far, in all its attempts together."""
    query = select(deletions.c.documents, deletions.c.chunks).where(deletions.c.id == deletion_id(ref))
    row = (await connection.execute(query)).one_or_none()
    return Purged(documents=0, chunks=0) if row is None else Purged(documents=row.documents, chunks=row.chunks)


async def close_receipt(connection: AsyncConnection, ref: DeletionRef, *, now: datetime) -> None:
    """Date the receipt; the first date stays."""
    done = {"status": "complete", "finished_at": func.coalesce(deletions.c.finished_at, now), "updated_at": now}
    await connection.execute(update(deletions).where(deletions.c.id == deletion_id(ref)).values(done))


# Documents


async def fence_documents(connection: AsyncConnection, targets: Sequence[DocumentId], *, now: datetime) -> None:
    """Take documents from readers, and refuse every later write of their ingestions.

    Waits for writes that are under way; what those stored is there for the purge that follows.
    The bytes may be uploaded again from now on. Rows are locked in the order of their ids.
    """
    mine = documents.c.id.in_(targets)
    await connection.execute(select(documents.c.id).where(mine).order_by(documents.c.id).with_for_update())
    values = {"status": DocumentStatus.DELETING, "active_ingestion_id": None, "stage": None, "updated_at": now}
    hidden = (documents.c.status == DocumentStatus.DELETING) & documents.c.active_ingestion_id.is_(None)
    await connection.execute(update(documents).where(mine, ~hidden).values(values))
    await connection.execute(
        update(ingestions)
        .where(ingestions.c.document_id.in_(targets), ingestions.c.status.in_(_OPEN_INGESTIONS))
        .values(status=IngestionStatus.CANCELLED, finished_at=now, updated_at=now)
    )
    await connection.execute(delete(document_contents).where(document_contents.c.document_id.in_(targets)))


async def delete_chunks(
    connection: AsyncConnection, ref: DeletionRef, targets: Sequence[DocumentId], *, limit: int
) -> int:
    """Delete some of the documents' chunks, with their vectors, and count them on the receipt."""
    values = {"documents": list(targets), "deletion": deletion_id(ref), "limit": limit}
    return int((await connection.execute(_DELETE_CHUNKS, values)).scalar_one())


async def delete_passages(connection: AsyncConnection, targets: Sequence[DocumentId], *, limit: int) -> int:
    """Delete what turns kept of the documents' text beside their answers."""
    return await _count(connection, _DELETE_PASSAGES, {"documents": list(targets), "limit": limit})


async def delete_documents(
    connection: AsyncConnection, ref: DeletionRef, targets: Sequence[DocumentId], removed: Removed
) -> None:
    """Delete the rows, with them ingestions and steps; count them, their pages, and the blobs removed before."""
    values = {"documents": list(targets), "deletion": deletion_id(ref), "blobs": removed.blobs, "bytes": removed.bytes}
    await connection.execute(_DELETE_DOCUMENTS, values)


# A bot


async def hide_bot(connection: AsyncConnection, bot: BotId, *, now: datetime) -> None:
    """Answer 404 for the bot from now on; the API has done so, as a rule."""
    await connection.execute(
        update(bots).where(bots.c.id == bot, bots.c.deleting_at.is_(None)).values(deleting_at=now, updated_at=now)
    )


async def documents_of(connection: AsyncConnection, bot: BotId, *, limit: int) -> list[DocumentId]:
    """Name some documents that are left."""
    rows = await connection.execute(select(documents.c.id).where(documents.c.bot_id == bot).limit(limit))
    return [DocumentId(row.id) for row in rows]


async def imports_of(connection: AsyncConnection, bot: BotId) -> list[ImportId]:
    """Name the bot's imports."""
    return [
        ImportId(id_)
        for id_ in (await connection.execute(select(imports.c.id).where(imports.c.bot_id == bot))).scalars()
    ]


async def delete_import(connection: AsyncConnection, import_id: ImportId) -> None:
    """Delete an import with its items; its documents are deleted by themselves."""
    await connection.execute(delete(imports).where(imports.c.id == import_id))


async def conversations_of(
    connection: AsyncConnection, bot: BotId, *, limit: int
) -> tuple[list[ConversationId], list[ConversationId]]:
    """Name some conversations that are left, and those of them that answer just now."""
    answering = (
        select(turns.c.id)
        .where(turns.c.conversation_id == conversations.c.id, turns.c.status.in_(_OPEN_TURNS))
        .exists()
        .label("answering")
    )
    query = select(conversations.c.id, answering).where(conversations.c.bot_id == bot).limit(limit)
    rows = (await connection.execute(query)).all()
    return [ConversationId(row.id) for row in rows], [ConversationId(row.id) for row in rows if row.answering]


async def delete_conversation(connection: AsyncConnection, ref: DeletionRef, conversation: ConversationId) -> None:
    """Delete a conversation with its messages, turns, passages and events, and count it."""
    if await _count(connection, delete(conversations).where(conversations.c.id == conversation)):
        counted = {"conversations": deletions.c.conversations + 1, "updated_at": func.now()}
        await connection.execute(update(deletions).where(deletions.c.id == deletion_id(ref)).values(counted))


async def delete_bot(connection: AsyncConnection, bot: BotId) -> bool:
    """Delete the bot's row. False where something came in meanwhile and has to be purged first.

    The lock waits for, and then keeps out, whoever is about to refer to the bot: a document that
    was accepted in the last moment is found here and its chunks and blobs do not outlive it.
    """
    await connection.execute(select(bots.c.id).where(bots.c.id == bot).with_for_update())
    left = select(
        select(documents.c.id).where(documents.c.bot_id == bot).exists()
        | select(conversations.c.id).where(conversations.c.bot_id == bot).exists()
        | select(crawls.c.id).where(crawls.c.bot_id == bot).exists()
    )
    if (await connection.execute(left)).scalar_one():
        return False
    await connection.execute(delete(bots).where(bots.c.id == bot))
    return True


async def _count(connection: AsyncConnection, statement: Executable, values: dict[str, Any] | None = None) -> int:
    result = await connection.execute(statement, values)
    return int(result.rowcount)
