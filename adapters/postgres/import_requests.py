"""What a person asks of an import by REST: cancel, retry what failed. Nothing here commits."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import packs
from adapters.postgres.imports import read, ref_of
from adapters.postgres.tables import documents, imports, ingestions
from domain.documents import DocumentStatus, IngestionStatus, Stage
from domain.errors import StateConflict
from domain.ids import DocumentId, ImportId, UserId
from domain.imports import FINAL, OPEN, ImportStatus
from domain.steps import ImportRef

_FAILED = (DocumentStatus.FAILED, DocumentStatus.CANCELLED)


async def cancel(connection: AsyncConnection, owner: UserId, import_id: ImportId, *, now: datetime) -> Row[Any]:
    """Write the wish down: no pack is taken up from now on, and the import's run closes what is left."""
    row = await read(connection, owner, import_id, lock=True)
    if row.status in FINAL:
        raise StateConflict(f"The import is {row.status} already.")
    requested = func.coalesce(imports.c.cancel_requested_at, now)
    await connection.execute(
        update(imports).where(imports.c.id == import_id).values(cancel_requested_at=requested, updated_at=now)
    )
    return row


async def retry_failed(connection: AsyncConnection, owner: UserId, import_id: ImportId, *, now: datetime) -> ImportRef:
    """Let everything that did not become ready wait for a pack again; what is stored of it stays."""
    row = await read(connection, owner, import_id, lock=True)
    if row.status in OPEN:
        raise StateConflict("The import still runs. Wait until it has ended, or cancel it, then retry what failed.")
    failed = (
        select(documents.c.id, documents.c.current_ingestion_id)
        .where(documents.c.import_id == import_id, documents.c.status.in_(_FAILED))
        .order_by(documents.c.id)
        .with_for_update()
    )
    found = (await connection.execute(failed)).all()
    again = {
        "status": IngestionStatus.PENDING, "epoch": ingestions.c.epoch + 1, "import_id": import_id, "pack": None,
        "run_id": None, "cancel_requested_at": None, "started_at": None, "finished_at": None,
        "error_code": None, "error_message": None, "updated_at": now,
    }  # fmt: skip
    ids = [row.current_ingestion_id for row in found]
    await connection.execute(update(ingestions).where(ingestions.c.id.in_(ids)).values(again))
    shown = {"status": DocumentStatus.PENDING, "stage": Stage.QUEUED, "error_code": None, "error_message": None}
    changed = [DocumentId(row.id) for row in found]
    await connection.execute(update(documents).where(documents.c.id.in_(changed)).values(**shown, updated_at=now))
    statement = (
        update(imports)
        .where(imports.c.id == import_id)
        .values(
            status=ImportStatus.PENDING, epoch=imports.c.epoch + 1, run_id=None, cancel_requested_at=None,
            error_code=None, error_message=None, finished_at=None, updated_at=now,
        )
        .returning(imports)
    )  # fmt: skip
    await packs.notify(connection, import_id, changed)
    return ref_of((await connection.execute(statement)).one())
