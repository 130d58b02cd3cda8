"""Packs: documents of an import that are ingested together, each with a state of its own. Nothing here commits.

A write reaches a document only while its ingestion is `running`, in this pack and under the epoch that
the writer read: a cancel, a deletion or a new version takes one out of a pack and the others go on.
Locks are taken in one order: import, documents by id, ingestions, chunks.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, literal_column, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import chunks
from adapters.postgres.tables import documents, imports, ingestions
from domain.documents import DocumentStatus, Format, IngestionRef, IngestionStatus, Stage
from domain.ids import BotId, DocumentId, ImportId, IngestionId, UserId
from domain.imports import PACK_DOCUMENTS, Candidate, ImportStatus, choose_pack
from domain.steps import Claimed, ImportRef, PackRef

_CANDIDATES = 2 * PACK_DOCUMENTS  # room for those that go on alone

_NOTIFY = text("SELECT pg_notify('documents', id::text) FROM unnest(CAST(:ids AS uuid[])) AS given(id)")


@dataclass(frozen=True, slots=True)
class Packed:
    """A document of a pack, as it was read."""

    ref: IngestionRef
    format: Format
    plan_digest: bytes | None
    planned_chunks: int | None
    embedding_model: str | None
    encoding: str | None  # asked for by a person


async def claim(
    connection: AsyncConnection, pack: PackRef, *, run_id: str, now: datetime
) -> tuple[Claimed, list[IngestionRef]]:
    """Take up the next documents under this number, once; the second value goes on in runs of its own."""
    ref = pack.ref
    if not await hold_open(connection, ref):
        return Claimed(documents=0, left=0, closed=True), []
    taken = await connection.scalar(select(func.count()).where(*in_pack(pack)))
    alone: list[IngestionRef] = []
    if not taken:
        found = await _candidates(connection, ref)
        choice = choose_pack(Candidate(IngestionId(row.ingestion_id), row.size_bytes) for row in found)
        rows = {IngestionId(row.ingestion_id): row for row in found}
        taken = await _start(connection, pack, [rows[id_] for id_ in choice.packed], run_id=run_id, now=now)
        alone = await release(connection, ref, choice.alone, now=now)
    return Claimed(documents=taken, left=await waiting(connection, ref.import_id)), alone


async def hold_open(connection: AsyncConnection, ref: ImportRef) -> bool:
    """Lock the import. False where it has ended, is to end, or was begun anew."""
    query = select(imports.c.id).where(
        imports.c.id == ref.import_id, imports.c.epoch == ref.epoch, imports.c.cancel_requested_at.is_(None),
        imports.c.status.in_((ImportStatus.UNPACKING, ImportStatus.RUNNING)),
    )  # fmt: skip
    return (await connection.execute(query.with_for_update())).one_or_none() is not None


async def waiting(connection: AsyncConnection, import_id: ImportId) -> int:
    """Count the documents that wait for a pack."""
    query = select(func.count()).where(
        ingestions.c.import_id == import_id, ingestions.c.status == IngestionStatus.PENDING
    )
    return int(await connection.scalar(query) or 0)


async def documents_of(connection: AsyncConnection, pack: PackRef) -> list[Packed]:
    """Read what of the pack is still to be done."""
    query = select(ingestions).where(*in_pack(pack)).order_by(ingestions.c.id)
    return [
        Packed(_ref(row), Format(row.format), row.plan_digest, row.planned_chunks, row.embedding_model, row.encoding)
        for row in await connection.execute(query)
    ]


async def release(
    connection: AsyncConnection, ref: ImportRef, found: Collection[IngestionId], *, now: datetime
) -> list[IngestionRef]:
    """Give documents of the import to runs of their own, which are to be started after the commit.

    What was stored stays; another epoch keeps late writes of the pack out, and tells the run that
    there may be chunks to discard.
    """
    if not found:
        return []
    held = select(ingestions.c.document_id).where(ingestions.c.id.in_(found), ingestions.c.import_id == ref.import_id)
    await lock_documents(connection, list((await connection.execute(held)).scalars()))
    statement = (
        update(ingestions)
        .where(ingestions.c.id.in_(found), ingestions.c.import_id == ref.import_id)
        .where(ingestions.c.status.in_((IngestionStatus.PENDING, IngestionStatus.RUNNING)))
        .values(
            import_id=None, pack=None, run_id=None, status=IngestionStatus.PENDING,
            epoch=ingestions.c.epoch + 1, updated_at=now,
        )
        .returning(ingestions)
    )  # fmt: skip
    released = [_ref(row) for row in await connection.execute(statement)]
    shown = {"status": DocumentStatus.PENDING, "stage": Stage.QUEUED, "updated_at": now}
    ids = [each.document_id for each in released]
    await connection.execute(update(documents).where(documents.c.id.in_(ids)).values(shown))
    await notify(connection, ref.import_id, ids)
    return released


async def discard(
    connection: AsyncConnection, import_id: ImportId, document: DocumentId, ingestion: IngestionId
) -> None:
    """Delete what was stored of a document that was taken out of its pack: it is little, and nobody else does."""
    await chunks.delete_all(connection, ingestion)
    await connection.execute(update(ingestions).where(ingestions.c.id == ingestion).values(stored_chunks=0))
    await notify(connection, import_id, [document])


async def notify(connection: AsyncConnection, import_id: ImportId, changed: Sequence[DocumentId]) -> None:
    """Wake who watches the import, or one of these documents, when the transaction commits."""
    await connection.execute(select(func.pg_notify(literal_column("'imports'"), str(import_id))))
    if changed:
        await connection.execute(_NOTIFY, {"ids": list(changed)})


async def _candidates(connection: AsyncConnection, ref: ImportRef) -> list[Row[Any]]:
    """Lock some that wait, the first ones first; what somebody changes just now is left for the next pack."""
    query = (
        select(documents.c.id, ingestions.c.id.label("ingestion_id"), ingestions.c.size_bytes)
        .join_from(ingestions, documents, documents.c.current_ingestion_id == ingestions.c.id)
        .where(ingestions.c.import_id == ref.import_id, ingestions.c.status == IngestionStatus.PENDING)
        .where(documents.c.status != DocumentStatus.DELETING)
        .order_by(ingestions.c.id)
        .limit(_CANDIDATES)
        .with_for_update(of=documents, skip_locked=True)
    )
    return list(await connection.execute(query))


async def _start(
    connection: AsyncConnection, pack: PackRef, rows: Sequence[Row[Any]], *, run_id: str, now: datetime
) -> int:
    """Take up those that still wait now that they are locked; answers how many."""
    started = {
        "status": IngestionStatus.RUNNING, "pack": pack.pack, "run_id": run_id, "finished_at": None,
        "started_at": func.coalesce(ingestions.c.started_at, now),
        "error_code": None, "error_message": None, "updated_at": now,
    }  # fmt: skip
    mine = ingestions.c.id.in_([row.ingestion_id for row in rows]), ingestions.c.status == IngestionStatus.PENDING
    statement = update(ingestions).where(*mine).values(started).returning(ingestions.c.document_id)
    ids = [DocumentId(id_) for id_ in (await connection.execute(statement)).scalars()]
    shown = {
        "status": DocumentStatus.PROCESSING, "stage": Stage.EXTRACTING,
        "error_code": None, "error_message": None, "updated_at": now,
    }  # fmt: skip
    await connection.execute(update(documents).where(documents.c.id.in_(ids)).values(shown))
    counted = {"packs": func.greatest(imports.c.packs, pack.pack), "updated_at": now}
    await connection.execute(update(imports).where(imports.c.id == pack.ref.import_id).values(counted))
    await notify(connection, pack.ref.import_id, ids)
    return len(ids)


async def lock_documents(connection: AsyncConnection, ids: Sequence[DocumentId]) -> None:
    """Lock documents in the order that everybody keeps."""
    query = select(documents.c.id).where(documents.c.id.in_(ids)).order_by(documents.c.id).with_for_update()
    (await connection.execute(query)).all()


def in_pack(pack: PackRef) -> tuple[Any, ...]:
    """Give the conditions of an ingestion that is in the pack."""
    return (
        ingestions.c.import_id == pack.ref.import_id,
        ingestions.c.pack == pack.pack,
        ingestions.c.status == IngestionStatus.RUNNING,
    )


def _ref(row: Row[Any]) -> IngestionRef:
    return IngestionRef(
        owner_id=UserId(row.owner_id), bot_id=BotId(row.bot_id), document_id=DocumentId(row.document_id),
        ingestion_id=IngestionId(row.id), epoch=row.epoch,
    )  # fmt: skip
