"""What a person asks of a document by REST: retry, cancel, delete. The row is locked, then its ingestion."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import deletions, documents, packs
from adapters.postgres.ingestions import close
from adapters.postgres.tables import documents as table
from adapters.postgres.tables import ingestions
from domain.documents import DocumentStatus, IngestionRef, IngestionStatus, Operation, Stage, require
from domain.errors import StateConflict
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.steps import CloseIngestion, DeletionRef

_CANCELLED = "Cancelled by its owner. Press retry to take it up again."
_VERSION_CANCELLED = (
    "The new version was cancelled by its owner, and the earlier one answers on. Upload it again to replace that one."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The document after the request, and the run that is to be started or told."""

    document: Row[Any]
    start: IngestionRef | None = None
    cancel_run: str | None = None
    parked: bool = False


async def retry(
    connection: AsyncConnection,
    owner: UserId,
    document: DocumentId,
    *,
    again: bool = False,
    keep_text_pages: bool = False,
) -> Asked:
    """Queue a failed or cancelled ingestion again; what it stored is kept. Others are only looked at.

    One that is parked has an open run, which is asked by an Update instead. The same request `again`,
    after its effect, finds the document under way. Raises `StateConflict` where there is no text to keep.
    """
    row = await documents.read(connection, owner, document, lock=True)
    if row.status == DocumentStatus.NEEDS_ATTENTION:
        if keep_text_pages and not again:
            await _require_text(connection, IngestionId(row.current_ingestion_id))
        return Asked(row, parked=True)
    if again and row.status not in (DocumentStatus.FAILED, DocumentStatus.CANCELLED):
        return Asked(row)
    require(Operation.RETRY, DocumentStatus(row.status))
    statement = (
        update(ingestions)
        .where(ingestions.c.id == row.current_ingestion_id)
        .values(
            status=IngestionStatus.PENDING,
            epoch=ingestions.c.epoch + 1,
            import_id=None,  # whoever retries one document gets a run for it
            pack=None,
            run_id=None,
            cancel_requested_at=None,
            started_at=None,
            finished_at=None,
            error_code=None,
            error_message=None,
            updated_at=func.now(),
            keep_text_pages=ingestions.c.keep_text_pages | keep_text_pages,
        )
        .returning(ingestions.c.epoch)
    )
    epoch = (await connection.execute(statement)).scalar_one()
    values = {"status": DocumentStatus.PENDING, "stage": Stage.QUEUED, "error_code": None, "error_message": None}
    await _change(connection, document, values)
    ref = IngestionRef(
        owner_id=owner,
        bot_id=BotId(row.bot_id),
        document_id=document,
        ingestion_id=IngestionId(row.current_ingestion_id),
        epoch=epoch,
    )
    return Asked(await documents.read(connection, owner, document), start=ref)


async def _require_text(connection: AsyncConnection, ingestion: IngestionId) -> None:
    query = select(ingestions.c.characters, ingestions.c.pages_without_text).where(ingestions.c.id == ingestion)
    row = (await connection.execute(query)).one()
    if not row.characters or not row.pages_without_text:
        raise StateConflict(
            "The document does not wait for pages without text, or no page has text: nothing would be kept. "
            "Look at last_error for what to do.",
            param="keep_text_pages",
        )


async def cancel(connection: AsyncConnection, owner: UserId, document: DocumentId, *, now: datetime) -> Asked:
    """Cancel at once what nobody took up; else write the wish down, so that housekeeping repeats it if need be."""
    row = await documents.read(connection, owner, document, lock=True)
    require(Operation.CANCEL, DocumentStatus(row.status))
    current = select(ingestions).where(ingestions.c.id == row.current_ingestion_id).with_for_update()
    ingestion = (await connection.execute(current)).one()
    if ingestion.status == IngestionStatus.PENDING or ingestion.import_id is not None:
        # A run that is about to begin finds it closed, one that waits in line is told, and a pack goes on without it.
        await close(connection, _unstarted(row, ingestion.epoch), now=now)
        if ingestion.import_id is not None:
            await packs.discard(connection, ingestion.import_id, document, IngestionId(ingestion.id))
            return Asked(await documents.read(connection, owner, document))
        if ingestion.run_id is not None:
            await _want_no_more(connection, ingestion, now=now)
        return Asked(await documents.read(connection, owner, document), cancel_run=ingestion.run_id)
    await _want_no_more(connection, ingestion, now=now)
    return Asked(row, cancel_run=ingestion.run_id)


async def delete(
    connection: AsyncConnection, owner: UserId, document: DocumentId, *, now: datetime
) -> tuple[DeletionRef, Row[Any]]:
    """Take the document from search and write the receipt, in one transaction."""
    row = await documents.read(connection, owner, document, lock=True)
    ref = DeletionRef(owner_id=owner, bot_id=BotId(row.bot_id), document_id=document)
    await deletions.open_receipt(connection, ref)
    await deletions.fence_documents(connection, [document], now=now)
    await documents.notify(connection, document)
    return ref, await documents.read_deletion(connection, owner, document)


async def _want_no_more(connection: AsyncConnection, ingestion: Row[Any], *, now: datetime) -> None:
    asked = func.coalesce(ingestions.c.cancel_requested_at, now)
    mine = ingestions.c.id == ingestion.id
    await connection.execute(update(ingestions).where(mine).values(cancel_requested_at=asked, updated_at=now))


def _unstarted(row: Row[Any], epoch: int) -> CloseIngestion:
    ref = IngestionRef(
        owner_id=UserId(row.owner_id),
        bot_id=BotId(row.bot_id),
        document_id=DocumentId(row.id),
        ingestion_id=IngestionId(row.current_ingestion_id),
        epoch=epoch,
    )
    message = _CANCELLED if row.active_ingestion_id is None else _VERSION_CANCELLED
    return CloseIngestion(ref=ref, cancelled=True, code="cancelled", message=message)


async def _change(connection: AsyncConnection, document: DocumentId, values: dict[str, Any]) -> None:
    await connection.execute(update(table).where(table.c.id == document).values(**values, updated_at=func.now()))
    await documents.notify(connection, document)
