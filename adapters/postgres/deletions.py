"""What a deletion removes, in statements short enough that a crash may fall between any two.

Each removal counts on the receipt in its own transaction, so that a purge that is run again
neither misses a row nor counts one twice. Nothing here commits.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Executable, delete, func, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import (
    bots,
    conversations,
    deletions,
    document_contents,
    documents,
    ingestions,
    turns,
)
from domain.documents import DocumentStatus, IngestionStatus
from domain.ids import BotId, ConversationId, DocumentId
from domain.steps import DeletionRef, Purged

_OPEN_INGESTIONS = (IngestionStatus.PENDING, IngestionStatus.RUNNING, IngestionStatus.PARKED)
_OPEN_TURNS = ("pending", "running")

_DELETE_CHUNKS = text(
    """
    WITH gone AS (
        DELETE FROM chunks
        WHERE ctid = ANY (ARRAY (SELECT ctid FROM chunks WHERE document_id = :document LIMIT :limit))
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
    WHERE ctid = ANY (ARRAY (SELECT ctid FROM turn_passages WHERE document_id = :document LIMIT :limit))
    """
)


def deletion_id(ref: DeletionRef) -> DocumentId | BotId:
    """Name the receipt: it has the id of what is deleted."""
    return ref.bot_id if ref.document_id is None else ref.document_id


async def open_receipt(connection: AsyncConnection, ref: DeletionRef) -> None:
    """Make sure that there is a receipt to count on; the API has written it, as a rule."""
    row = {"id": deletion_id(ref), "owner_id": ref.owner_id, "bot_id": ref.bot_id, "document_id": ref.document_id}
    await connection.execute(postgresql.insert(deletions).values(row).on_conflict_do_nothing(index_elements=["id"]))


async def receipt(connection: AsyncConnection, ref: DeletionRef) -> Purged:
    """Tell what this deletion removed so far, in all its attempts together."""
    query = select(deletions.c.documents, deletions.c.chunks).where(deletions.c.id == deletion_id(ref))
    row = (await connection.execute(query)).one_or_none()
    return Purged(documents=0, chunks=0) if row is None else Purged(documents=row.documents, chunks=row.chunks)


async def close_receipt(connection: AsyncConnection, ref: DeletionRef, *, now: datetime) -> None:
    """Date the receipt; the first date stays."""
    done = {"status": "complete", "finished_at": func.coalesce(deletions.c.finished_at, now), "updated_at": now}
    await connection.execute(update(deletions).where(deletions.c.id == deletion_id(ref)).values(done))


# One document


async def fence_document(connection: AsyncConnection, document: DocumentId, *, now: datetime) -> None:
    """Take the document from readers, and refuse every later write of its ingestions.

    Waits for a write that is under way; what that stored is there for the purge that follows.
    The bytes may be uploaded again from now on.
    """
    await connection.execute(select(documents.c.id).where(documents.c.id == document).with_for_update())
    values = {"status": DocumentStatus.DELETING, "active_ingestion_id": None, "stage": None, "updated_at": now}
    hidden = (documents.c.status == DocumentStatus.DELETING) & documents.c.active_ingestion_id.is_(None)
    await connection.execute(update(documents).where(documents.c.id == document, ~hidden).values(values))
    await connection.execute(
        update(ingestions)
        .where(ingestions.c.document_id == document, ingestions.c.status.in_(_OPEN_INGESTIONS))
        .values(status=IngestionStatus.CANCELLED, finished_at=now, updated_at=now)
    )
    await connection.execute(delete(document_contents).where(document_contents.c.document_id == document))


async def delete_chunks(connection: AsyncConnection, ref: DeletionRef, document: DocumentId, *, limit: int) -> int:
    """Delete some of the document's chunks and count them on the receipt."""
    values = {"document": document, "deletion": deletion_id(ref), "limit": limit}
    return int((await connection.execute(_DELETE_CHUNKS, values)).scalar_one())


async def delete_passages(connection: AsyncConnection, document: DocumentId, *, limit: int) -> int:
    """Delete what turns kept of the document's text beside their answers."""
    return await _count(connection, _DELETE_PASSAGES, {"document": document, "limit": limit})


async def delete_document(connection: AsyncConnection, ref: DeletionRef, document: DocumentId) -> bool:
    """Delete the row, with it ingestions and steps, and count it. False where it was gone already."""
    gone = await _count(connection, delete(documents).where(documents.c.id == document))
    if gone:
        counted = {"documents": deletions.c.documents + 1, "updated_at": func.now()}
        await connection.execute(update(deletions).where(deletions.c.id == deletion_id(ref)).values(counted))
    return gone > 0


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


async def delete_conversation(connection: AsyncConnection, conversation: ConversationId) -> None:
    """Delete a conversation with its messages, turns, passages and events."""
    await connection.execute(delete(conversations).where(conversations.c.id == conversation))


async def delete_bot(connection: AsyncConnection, bot: BotId) -> bool:
    """Delete the bot's row. False where something came in meanwhile and has to be purged first.

    The lock waits for, and then keeps out, whoever is about to refer to the bot: a document that
    was accepted in the last moment is found here and its chunks and blobs do not outlive it.
    """
    await connection.execute(select(bots.c.id).where(bots.c.id == bot).with_for_update())
    left = select(
        select(documents.c.id).where(documents.c.bot_id == bot).exists()
        | select(conversations.c.id).where(conversations.c.bot_id == bot).exists()
    )
    if (await connection.execute(left)).scalar_one():
        return False
    await connection.execute(delete(bots).where(bots.c.id == bot))
    return True


async def _count(connection: AsyncConnection, statement: Executable, values: dict[str, Any] | None = None) -> int:
    result = await connection.execute(statement, values)
    return int(result.rowcount)
