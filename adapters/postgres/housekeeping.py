"""What housekeeping looks for, and how it changes a row only while nothing has happened to it.

Nothing here commits; every statement is bounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.ingestions import close
from adapters.postgres.tables import chunks, deletions, documents, ingestions, turns
from adapters.postgres.turn_ends import finish
from domain.conversation import TurnOutcome, TurnStatus
from domain.documents import DocumentStatus, IngestionRef, IngestionStatus
from domain.ids import BotId, ConversationId, DocumentId, IngestionId, TurnId, UserId
from domain.messages import Failure
from domain.steps import CloseIngestion, DeletionRef, TurnRef

WORKFLOW_LOST = "workflow_lost"
_DOCUMENT_LOST = (
    "The ingestion was stopped from outside before it finished. Press retry: what is stored already is not done again."
)
_VERSION_LOST = (
    "The new version's ingestion was stopped from outside before it finished. The earlier version answers on; "
    "upload the new one again."
)
_CANCELLED = "Cancelled by its owner. Press retry to take it up again."
_TURN_LOST = Failure(
    code=WORKFLOW_LOST, message="The answer was stopped from outside before it was finished. Ask again."
)


@dataclass(frozen=True, slots=True)
class UnfinishedDocument:
    """A document that should have a run, as it was when it was looked at."""

    ref: IngestionRef
    run_id: str | None
    status: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedTurn:
    """A turn that should have a run, as it was when it was looked at."""

    ref: TurnRef
    run_id: str | None
    updated_at: datetime
    last_sequence: int


@dataclass(frozen=True, slots=True)
class UnwantedRun:
    """A run that is to stop."""

    document_id: DocumentId
    run_id: str


# What waits for a run to be started, the oldest first


async def pending_turns(connection: AsyncConnection, *, before: datetime, limit: int) -> list[TurnRef]:
    """Find questions that were accepted, and not taken up since."""
    query = (
        select(turns)
        .where(turns.c.status == TurnStatus.PENDING, turns.c.updated_at < before)
        .order_by(turns.c.updated_at)
        .limit(limit)
    )
    return [_turn_ref(row) for row in await connection.execute(query)]


async def pending_deletions(connection: AsyncConnection, *, before: datetime, limit: int) -> list[DeletionRef]:
    """Find deletions that were promised, and not finished since."""
    query = (
        select(deletions)
        .where(deletions.c.status == "pending", deletions.c.updated_at < before)
        .order_by(deletions.c.updated_at)
        .limit(limit)
    )
    return [
        DeletionRef(
            owner_id=UserId(row.owner_id),
            bot_id=BotId(row.bot_id),
            document_id=None if row.document_id is None else DocumentId(row.document_id),
        )
        for row in await connection.execute(query)
    ]


# What was to be cancelled, and may not have been told so


async def unwanted_runs(connection: AsyncConnection, *, before: datetime, limit: int) -> list[UnwantedRun]:
    """Find runs of ingestions that a person cancelled, or that a newer version superseded.

    The wish is in the row, in the transaction that answered the person; the message to the run may
    have been lost in a crash. A run that was told already is told again, which does nothing.
    """
    current = ingestions.c.id == documents.c.current_ingestion_id
    asked = current & ingestions.c.status.in_((IngestionStatus.RUNNING, IngestionStatus.PARKED))
    closed = ingestions.c.status == IngestionStatus.CANCELLED  # superseded, or cancelled while it waited in line
    query = (
        select(documents.c.id, ingestions.c.run_id)
        .join_from(documents, ingestions, ingestions.c.document_id == documents.c.id)
        .where(ingestions.c.run_id.is_not(None), ingestions.c.cancel_requested_at < before, asked | closed)
        .order_by(ingestions.c.cancel_requested_at)
        .limit(limit)
    )
    return [UnwantedRun(DocumentId(row.id), row.run_id) for row in await connection.execute(query)]


async def forget_unwanted(connection: AsyncConnection, told: Sequence[UnwantedRun]) -> None:
    """Stop telling the runs of versions that have ended: they know it now."""
    ended = ingestions.c.status == IngestionStatus.CANCELLED
    mine = ingestions.c.run_id.in_([run.run_id for run in told])
    await connection.execute(update(ingestions).where(mine, ended).values(cancel_requested_at=None))


# What should have a run


async def unfinished_documents(connection: AsyncConnection, *, before: datetime) -> list[UnfinishedDocument]:
    """Find documents that are being worked on, or wait for a person, with nothing new since `before`."""
    query = (
        _ingestion_query()
        .where(documents.c.status.in_((DocumentStatus.PROCESSING, DocumentStatus.NEEDS_ATTENTION)))
        .where(documents.c.updated_at < before, ingestions.c.import_id.is_(None))
    )
    return [
        UnfinishedDocument(_ingestion_ref(row), row.run_id, row.status, row.updated_at)
        for row in await connection.execute(query)
    ]


async def unfinished_turns(connection: AsyncConnection, *, before: datetime) -> list[UnfinishedTurn]:
    """Find turns that are being answered, with nothing new since `before`."""
    query = select(turns).where(turns.c.status == TurnStatus.RUNNING, turns.c.updated_at < before)
    return [
        UnfinishedTurn(_turn_ref(row), row.run_id, row.updated_at, row.last_sequence)
        for row in await connection.execute(query)
    ]


async def lose_document(connection: AsyncConnection, seen: UnfinishedDocument, *, now: datetime) -> bool:
    """Close a document whose run is gone. False, and nothing changed, where anything happened since `seen`.

    Without an earlier version its chunks stay, so that a retry pays for the rest only. With one
    the document answers on from that; the new one's chunks would never be used.
    """
    ref = seen.ref
    if not await _lock_unchanged(connection, seen):
        return False
    query = select(ingestions.c.cancel_requested_at, documents.c.active_ingestion_id).join_from(
        ingestions, documents, documents.c.id == ingestions.c.document_id
    )
    row = (await connection.execute(query.where(ingestions.c.id == ref.ingestion_id))).one()
    earlier = row.active_ingestion_id is not None
    if row.cancel_requested_at is not None:  # a person gets what was asked for
        end = CloseIngestion(ref=ref, cancelled=True, code="cancelled", message=_CANCELLED)
    else:
        message = _VERSION_LOST if earlier else _DOCUMENT_LOST
        end = CloseIngestion(ref=ref, cancelled=False, code=WORKFLOW_LOST, message=message)
    await close(connection, end, now=now)
    if earlier:
        await connection.execute(delete(chunks).where(chunks.c.ingestion_id == ref.ingestion_id))
    return True


async def _lock_unchanged(connection: AsyncConnection, seen: UnfinishedDocument) -> bool:
    """Lock the document, then its ingestion, as every writer does; False where one is not as it was seen."""
    document = select(documents.c.id).where(
        documents.c.id == seen.ref.document_id,
        documents.c.status == seen.status,
        documents.c.updated_at == seen.updated_at,
        documents.c.current_ingestion_id == seen.ref.ingestion_id,
    )
    ingestion = select(ingestions.c.id).where(
        ingestions.c.id == seen.ref.ingestion_id,
        ingestions.c.epoch == seen.ref.epoch,
        ingestions.c.run_id.is_not_distinct_from(seen.run_id),
        ingestions.c.status.in_((IngestionStatus.RUNNING, IngestionStatus.PARKED)),
    )
    for query in (document, ingestion):
        if (await connection.execute(query.with_for_update())).one_or_none() is None:
            return False
    return True


async def lose_turn(connection: AsyncConnection, seen: UnfinishedTurn, *, now: datetime) -> bool:
    """Finish a turn whose run is gone. False, and nothing changed, where anything happened since `seen`.

    A generation that had come to its end is stored as the answer that it is; any other is failed.
    """
    unchanged = (
        (turns.c.id == seen.ref.turn_id)
        & (turns.c.status == TurnStatus.RUNNING)
        & turns.c.run_id.is_not_distinct_from(seen.run_id)
        & (turns.c.updated_at == seen.updated_at)
        & (turns.c.last_sequence == seen.last_sequence)
    )
    row = (await connection.execute(select(turns.c.draft).where(unchanged).with_for_update())).one_or_none()
    if row is None:
        return False
    outcome = TurnOutcome.FAILED if row.draft is None else TurnOutcome.COMPLETE
    await finish(connection, seen.ref.turn_id, outcome, _TURN_LOST, now=now)
    return True


def _ingestion_query() -> Select[Any]:
    return select(
        documents.c.id, documents.c.owner_id, documents.c.bot_id, documents.c.status, documents.c.updated_at,
        ingestions.c.id.label("ingestion_id"), ingestions.c.epoch,
        ingestions.c.run_id,
    ).join_from(documents, ingestions, ingestions.c.id == documents.c.current_ingestion_id)  # fmt: skip


def _ingestion_ref(row: Row[Any]) -> IngestionRef:
    return IngestionRef(
        owner_id=UserId(row.owner_id),
        bot_id=BotId(row.bot_id),
        document_id=DocumentId(row.id),
        ingestion_id=IngestionId(row.ingestion_id),
        epoch=row.epoch,
    )


def _turn_ref(row: Row[Any]) -> TurnRef:
    return TurnRef(
        owner_id=UserId(row.owner_id),
        bot_id=BotId(row.bot_id),
        conversation_id=ConversationId(row.conversation_id),
        turn_id=TurnId(row.id),
    )
