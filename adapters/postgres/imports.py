"""Imports: accepting, counting, ending, and taking them up again. Nothing here commits.

What has become of an import's documents is counted in their own rows each time, never kept beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import packs
from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, chunks, documents, import_items, imports, ingestions
from domain.documents import DocumentStatus, IngestionStatus
from domain.errors import NotFound
from domain.filters import Metadata
from domain.ids import BotId, DocumentId, ImportId, UserId
from domain.imports import OPEN, ImportStatus
from domain.steps import EndImport, ImportBegun, ImportRef, ImportSettled

_RATE_WINDOW = timedelta(seconds=30)
_UNFINISHED = (DocumentStatus.PENDING, DocumentStatus.PROCESSING)
_PACKED = (IngestionStatus.PENDING, IngestionStatus.RUNNING)
_FAILED = (DocumentStatus.FAILED, DocumentStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Counts:
    """Documents by status, items by outcome, chunks that answer, and documents a second just now."""

    documents: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    chunks: int = 0
    rate: float = 0.0


def no_import() -> NotFound:
    """Say the same of an id that never was, is gone, or is another owner's."""
    return NotFound("You have no import of this id.")


async def add(
    connection: AsyncConnection, ref: ImportRef, *, name: str, archive: bool, metadata: Metadata | None = None
) -> None:
    """Write the row; its run is to be started after the commit."""
    row = {"id": ref.import_id, "owner_id": ref.owner_id, "bot_id": ref.bot_id, "name": name, "archive": archive}
    await connection.execute(insert(imports).values({**row, "metadata": metadata or {}}))


async def read(connection: AsyncConnection, owner: UserId, import_id: ImportId, *, lock: bool = False) -> Row[Any]:
    """Read an owner's import. Raises `NotFound`; with `lock`, holds it against its run."""
    query = _visible(owner).where(imports.c.id == import_id)
    if lock:
        query = query.with_for_update(of=imports)
    row: Row[Any] | None = (await connection.execute(query)).one_or_none()
    if row is None:
        raise no_import()
    return row


async def page(connection: AsyncConnection, owner: UserId, bot: BotId, window: Window) -> list[Row[Any]]:
    """List a bot's imports."""
    query = _visible(owner).where(imports.c.bot_id == bot)
    return list(await connection.execute(keyset(query, [imports.c.created_at, imports.c.id], window)))


async def counts(connection: AsyncConnection, ids: Sequence[ImportId], *, now: datetime) -> dict[ImportId, Counts]:
    """Count what has become of each import."""
    table, since = documents.c, now - _RATE_WINDOW
    query = (
        select(
            table.import_id, table.status, func.count().label("number"),
            func.coalesce(func.sum(table.chunk_count), 0).label("chunks"),
            func.count().filter(table.ready_at >= since).label("recent"),
            func.min(table.ready_at).filter(table.ready_at >= since).label("first"),
        ).where(table.import_id.in_(ids)).group_by(table.import_id, table.status)
    )  # fmt: skip
    found = {import_id: Counts() for import_id in ids}
    for row in await connection.execute(query):
        before = found[ImportId(row.import_id)]
        seconds = max(1.0, (now - row.first).total_seconds()) if row.first else 1.0
        found[ImportId(row.import_id)] = Counts(
            {**before.documents, row.status: row.number}, {}, before.chunks + int(row.chunks),
            before.rate + row.recent / seconds,
        )  # fmt: skip
    items = import_items.c
    outcomes = (
        select(items.import_id, items.outcome, func.count().label("number"))
        .where(items.import_id.in_(ids))
        .group_by(items.import_id, items.outcome)
    )
    for row in await connection.execute(outcomes):
        found[ImportId(row.import_id)].items[row.outcome] = row.number
    return found


# What its run does


async def begin(connection: AsyncConnection, ref: ImportRef, *, run_id: str, now: datetime) -> ImportBegun:
    """Take the import up, and name the run that has it."""
    row = await hold(connection, ref)
    if row is None:
        return ImportBegun(closed=True)
    if row.cancel_requested_at is None:
        status = ImportStatus.UNPACKING if row.archive else ImportStatus.RUNNING
        await _set(connection, ref, {"status": status, "run_id": run_id, "updated_at": now})
    return ImportBegun(cancelled=row.cancel_requested_at is not None, unpack=row.archive, packs=row.packs)


async def hold(connection: AsyncConnection, ref: ImportRef) -> Row[Any] | None:
    """Lock an import that is open under this epoch; else None."""
    query = select(imports).where(
        imports.c.id == ref.import_id, imports.c.epoch == ref.epoch, imports.c.status.in_(OPEN)
    )
    return (await connection.execute(query.with_for_update())).one_or_none()


async def unpacked(connection: AsyncConnection, ref: ImportRef, *, now: datetime) -> bool:
    """Record that every member of the archive is an item; false, and nothing changed, where the import has ended."""
    if await hold(connection, ref) is None:
        return False
    await _set(connection, ref, {"archive": False, "status": ImportStatus.RUNNING, "updated_at": now})
    return True


async def next_position(connection: AsyncConnection, import_id: ImportId) -> int:
    """Tell where to go on with the archive: its members are registered in order."""
    last = await connection.scalar(
        select(func.max(import_items.c.position)).where(import_items.c.import_id == import_id)
    )
    return 0 if last is None else int(last) + 1


async def settle(connection: AsyncConnection, ref: ImportRef, *, now: datetime) -> ImportSettled:
    """Complete the import if nothing of it waits or runs. Documents that an earlier run of it left wait again."""
    row = await hold(connection, ref)
    if row is None:
        return ImportSettled(done=True)
    await _requeue(connection, ref, now=now)
    packable = await packs.waiting(connection, ref.import_id)
    query = select(func.count()).where(documents.c.import_id == ref.import_id, documents.c.status.in_(_UNFINISHED))
    under_way = int(await connection.scalar(query) or 0) - packable
    if packable or under_way > 0:
        return ImportSettled(done=False, packable=packable, under_way=max(under_way, 0))
    await _finish(connection, ref, {"status": ImportStatus.COMPLETE}, now=now)
    return ImportSettled(done=True)


async def parked(
    connection: AsyncConnection, ref: ImportRef, *, after: DocumentId | None, limit: int
) -> list[DocumentId]:
    """Name some documents of the import that wait for a person, in order."""
    query = select(documents.c.id).where(
        documents.c.import_id == ref.import_id, documents.c.status == DocumentStatus.NEEDS_ATTENTION
    )
    if after is not None:
        query = query.where(documents.c.id > after)
    found = await connection.execute(query.order_by(documents.c.id).limit(limit))
    return [DocumentId(row.id) for row in found]


async def close_packed(connection: AsyncConnection, end: EndImport, *, limit: int, now: datetime) -> int:
    """Close some documents that wait for a pack or are in one; answers how many. A cancel discards their chunks."""
    ref = end.ref
    found = await _lock_packed(connection, ref, limit=limit)
    error = {"error_code": end.code, "error_message": end.message, "updated_at": now}
    status = IngestionStatus.CANCELLED if end.cancelled else IngestionStatus.FAILED
    values = {"status": status, "finished_at": now, **error}
    if end.cancelled:
        values |= {"stored_chunks": 0}
    # Whom the lock waited for may have published one of them.
    mine = ingestions.c.id.in_([row.ingestion_id for row in found]), ingestions.c.status.in_(_PACKED)
    ended = update(ingestions).where(*mine).values(values).returning(ingestions.c.id, ingestions.c.document_id)
    rows = (await connection.execute(ended)).all()
    shown = {"status": DocumentStatus.CANCELLED if end.cancelled else DocumentStatus.FAILED, "stage": None, **error}
    closed = [DocumentId(row.document_id) for row in rows]
    await connection.execute(update(documents).where(documents.c.id.in_(closed)).values(shown))
    if end.cancelled:
        await connection.execute(delete(chunks).where(chunks.c.ingestion_id.in_([row.id for row in rows])))
    await packs.notify(connection, ref.import_id, closed)
    return len(found)


async def own_runs(
    connection: AsyncConnection, ref: ImportRef, *, after: DocumentId | None, limit: int
) -> list[Row[Any]]:
    """List some unfinished documents of the import that have, or wait for, a run of their own."""
    query = (
        select(documents.c.id, documents.c.owner_id)
        .join_from(documents, ingestions, ingestions.c.id == documents.c.current_ingestion_id)
        .where(documents.c.import_id == ref.import_id, ingestions.c.import_id.is_(None))
        .where(documents.c.status.in_((*_UNFINISHED, DocumentStatus.NEEDS_ATTENTION)))
    )
    if after is not None:
        query = query.where(documents.c.id > after)
    return list(await connection.execute(query.order_by(documents.c.id).limit(limit)))


async def end(connection: AsyncConnection, how: EndImport, *, now: datetime) -> bool:
    """End the import itself; false where documents came in meanwhile, which are to be closed first."""
    if await hold(connection, how.ref) is None:
        return True
    if (await connection.execute(_packed(how.ref).limit(1))).first() is not None:
        return False
    status = ImportStatus.CANCELLED if how.cancelled else ImportStatus.FAILED
    await _finish(
        connection, how.ref, {"status": status, "error_code": how.code, "error_message": how.message}, now=now
    )
    return True


def ref_of(row: Row[Any]) -> ImportRef:
    """Name the import as its steps do."""
    return ImportRef(
        owner_id=UserId(row.owner_id), bot_id=BotId(row.bot_id), import_id=ImportId(row.id), epoch=row.epoch
    )


async def _requeue(connection: AsyncConnection, ref: ImportRef, *, now: datetime) -> None:
    """No pack is under way: what is running belongs to one that a reset of the run forgot."""
    stray = ingestions.c.import_id == ref.import_id, ingestions.c.status == IngestionStatus.RUNNING
    held = select(ingestions.c.document_id).where(*stray)
    ids = [DocumentId(id_) for id_ in (await connection.execute(held)).scalars()]
    if not ids:
        return
    await packs.lock_documents(connection, ids)
    again = {"status": IngestionStatus.PENDING, "epoch": ingestions.c.epoch + 1, "pack": None, "updated_at": now}
    await connection.execute(update(ingestions).where(*stray, ingestions.c.document_id.in_(ids)).values(again))


def _packed(ref: ImportRef) -> Select[Any]:
    """Choose what waits for a pack or is in one. What is being deleted is its purge's, which may wait for this end."""
    return (
        select(documents.c.id, ingestions.c.id.label("ingestion_id"))
        .join_from(ingestions, documents, documents.c.current_ingestion_id == ingestions.c.id)
        .where(ingestions.c.import_id == ref.import_id, ingestions.c.status.in_(_PACKED))
        .where(documents.c.status != DocumentStatus.DELETING)
    )


async def _lock_packed(connection: AsyncConnection, ref: ImportRef, *, limit: int) -> list[Row[Any]]:
    query = _packed(ref).order_by(documents.c.id).limit(limit).with_for_update(of=documents)
    return list(await connection.execute(query))


async def _finish(connection: AsyncConnection, ref: ImportRef, values: dict[str, Any], *, now: datetime) -> None:
    await _set(connection, ref, {**values, "finished_at": now, "updated_at": now})
    await packs.notify(connection, ref.import_id, [])


async def _set(connection: AsyncConnection, ref: ImportRef, values: dict[str, Any]) -> None:
    mine = imports.c.id == ref.import_id, imports.c.epoch == ref.epoch
    await connection.execute(update(imports).where(*mine).values(values))


def _visible(owner: UserId) -> Select[Any]:
    return (
        select(imports)
        .join(bots, bots.c.id == imports.c.bot_id)
        .where(imports.c.owner_id == owner, bots.c.owner_id == owner, bots.c.deleting_at.is_(None))
    )
