"""What housekeeping looks for among imports. Nothing here commits; every statement is bounded."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import packs
from adapters.postgres.housekeeping import WORKFLOW_LOST
from adapters.postgres.imports import ref_of
from adapters.postgres.tables import imports, ingestions
from domain.documents import IngestionRef, IngestionStatus
from domain.ids import BotId, ImportId, IngestionId, UserId
from domain.imports import FINAL, ImportStatus
from domain.steps import EndImport, ImportRef

_LOST = (
    "The import was stopped from outside before it finished. Press retry-failed: what is stored already is not "
    "done again."
)
_CANCELLED = "The import was cancelled. Press retry-failed to take it up again."
_AT_WORK = (ImportStatus.UNPACKING, ImportStatus.RUNNING)


async def pending(connection: AsyncConnection, *, before: datetime, limit: int) -> list[ImportRef]:
    """Find imports that were accepted, and not taken up since."""
    query = select(imports).where(imports.c.status == ImportStatus.PENDING, imports.c.updated_at < before)
    return [ref_of(row) for row in await connection.execute(query.order_by(imports.c.updated_at).limit(limit))]


async def unwanted(connection: AsyncConnection, *, before: datetime, limit: int) -> list[tuple[ImportId, str]]:
    """Find runs of imports that a person cancelled; the message to them may have been lost in a crash."""
    query = (
        select(imports.c.id, imports.c.run_id)
        .where(imports.c.status.in_(_AT_WORK), imports.c.run_id.is_not(None), imports.c.cancel_requested_at < before)
        .limit(limit)
    )
    return [(ImportId(row.id), row.run_id) for row in await connection.execute(query)]


async def at_work(connection: AsyncConnection, *, before: datetime) -> list[EndImport]:
    """Find imports that should have a run, and how each is to end if it has none."""
    query = select(imports).where(imports.c.status.in_(_AT_WORK), imports.c.updated_at < before)
    return [
        EndImport(ref=ref_of(row), cancelled=True, code="cancelled", message=_CANCELLED)
        if row.cancel_requested_at is not None
        else EndImport(ref=ref_of(row), cancelled=False, code=WORKFLOW_LOST, message=_LOST)
        for row in await connection.execute(query)
    ]


async def release_strays(
    connection: AsyncConnection, *, before: datetime, limit: int, now: datetime
) -> list[IngestionRef]:
    """Give documents that wait for an import which has ended or is gone to runs of their own."""
    ended = ~select(imports.c.id).where(imports.c.id == ingestions.c.import_id, imports.c.status.not_in(FINAL)).exists()
    query = (
        select(ingestions.c.id, ingestions.c.owner_id, ingestions.c.bot_id, ingestions.c.import_id)
        .where(ingestions.c.import_id.is_not(None), ingestions.c.updated_at < before, ended)
        .where(ingestions.c.status.in_((IngestionStatus.PENDING, IngestionStatus.RUNNING)))
        .order_by(ingestions.c.document_id)  # they are locked one by one, in the order that everybody keeps
        .limit(limit)
    )
    released: list[IngestionRef] = []
    for row in (await connection.execute(query)).all():
        ref = ImportRef(owner_id=UserId(row.owner_id), bot_id=BotId(row.bot_id), import_id=ImportId(row.import_id))
        released += await packs.release(connection, ref, [IngestionId(row.id)], now=now)
    return released
