"""The life of an ingestion and, with it, of its document's row. Nothing here commits.

Every write is conditional on the ingestion being open for the writer's epoch, so that a late
attempt of an earlier run changes nothing. Locks are taken in one order: document, ingestion, chunks.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import admission, chunks, contents, flight
from adapters.postgres.tables import documents, ingestions
from domain.documents import DocumentStatus, Format, IngestionRef, IngestionStatus, Stage
from domain.errors import IncompleteIngestion, IngestionClosed
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.ingestion import Plan
from domain.ports import ExtractedText
from domain.steps import Closed, CloseIngestion

_OPEN = (IngestionStatus.PENDING, IngestionStatus.RUNNING, IngestionStatus.PARKED)
_UNSUCCESSFUL = (IngestionStatus.FAILED, IngestionStatus.CANCELLED)


async def lock(connection: AsyncConnection, ref: IngestionRef) -> tuple[Row[Any] | None, Row[Any] | None]:
    """Lock the document's row, then the ingestion's; either may be gone."""
    query = select(documents).where(documents.c.id == ref.document_id).with_for_update()
    document = (await connection.execute(query)).one_or_none()
    mine = select(ingestions).where(ingestions.c.id == ref.ingestion_id).with_for_update()
    return document, (await connection.execute(mine)).one_or_none()


async def begin(
    connection: AsyncConnection, ref: IngestionRef, *, run_id: str, now: datetime, cap: int | None = None
) -> bool:
    """Take an ingestion up, for the first time or after a person's retry; what runs already goes on.

    False where `cap` of its owner's documents are being worked on, or are to be before it: it then waits.
    """
    row = await _require(connection, ref, _OPEN)
    if cap is not None and row.status != IngestionStatus.RUNNING and row.import_id is None:
        await admission.lock(connection, ref.owner_id)
        if not await admission.may_begin(connection, ref, cap=cap):
            await _queue(connection, ref, row, run_id=run_id, now=now)
            return False
    started = {"started_at": func.coalesce(ingestions.c.started_at, now), "finished_at": None}
    await _go_on(connection, ref, {"run_id": run_id, **started}, {"stage": Stage.QUEUED}, now=now)
    return True


async def enter(
    connection: AsyncConnection, ref: IngestionRef, stage: Stage, *, run_id: str, now: datetime
) -> Row[Any]:
    """Show the stage and give the ingestion's row. Raises `IngestionClosed` where it is not running.

    A run that was reset from the Web UI goes on under another id, which a cancel has to name; it may
    have been parked before the reset.
    """
    row = await _require(connection, ref, (IngestionStatus.RUNNING, IngestionStatus.PARKED))
    if row.run_id != run_id:
        await _go_on(connection, ref, {"run_id": run_id}, {}, now=now)
    elif row.status != IngestionStatus.RUNNING:
        raise _closed()
    shown = documents.c.stage.is_distinct_from(stage)
    if stage is Stage.EMBEDDING:  # the last shard's second attempt must not turn the page back
        shown &= documents.c.stage.is_distinct_from(Stage.PUBLISHING)
    done = row.stored_chunks if stage is Stage.EMBEDDING else 0
    begun = {"stage": stage, "stage_started_at": now, "stage_done": done}
    await show(connection, ref, {**begun, "updated_at": now}, shown)
    return row


async def report_pages(
    connection: AsyncConnection, ref: IngestionRef, done: int, total: int | None, *, now: datetime
) -> None:
    """Show how far extraction is; what is late shows nothing."""
    running = (
        select(ingestions.c.id)
        .where(ingestions.c.id == ref.ingestion_id, ingestions.c.epoch == ref.epoch)
        .where(ingestions.c.status == IngestionStatus.RUNNING)
        .exists()
    )
    await show(connection, ref, {"pages_done": done, "pages_total": total, "updated_at": now}, running)


async def extracted(
    connection: AsyncConnection, ref: IngestionRef, result: ExtractedText, *, now: datetime
) -> Row[Any]:
    """Record that the pages are stored, which of them have to be recognised, and in which encoding a text was read.

    Gives the row as it was before.
    """
    row = await _require(connection, ref, (IngestionStatus.RUNNING,))
    detected = {"detected_encoding": result.encoding} if row.encoding is None else {}
    stored = {
        "pages": result.pages, "characters": result.characters,
        "pages_without_text": list(result.without_text), "pages_recognized": 0,
    }  # fmt: skip
    await _set(connection, ref, {**stored, **detected, "updated_at": now})
    done = result.pages - len(result.without_text)
    pages = {"pages_done": done, "pages_total": result.pages, "encoding": result.encoding}
    stage = Stage.EXTRACTING if result.without_text else Stage.CHUNKING
    await show(connection, ref, {**pages, "stage": stage, "updated_at": now})
    return row


async def hold_running(connection: AsyncConnection, ref: IngestionRef) -> Row[Any]:
    """Lock an ingestion that is at work and give its row. Raises `IngestionClosed`."""
    return await _require(connection, ref, (IngestionStatus.RUNNING,))


async def planned(connection: AsyncConnection, ref: IngestionRef, plan: Plan, *, now: datetime) -> None:
    """Record the plan. Chunks that were stored by another plan are deleted, so that none are mixed."""
    row = await _require(connection, ref, (IngestionStatus.RUNNING,))
    values: dict[str, Any] = {
        "planned_chunks": plan.chunks, "shards": plan.shards, "plan_digest": plan.digest,
        "embedding_model": plan.embedding_model, "batch_size": plan.batch_size,
    }  # fmt: skip
    stored = int(row.stored_chunks)
    if (row.plan_digest, row.embedding_model, row.batch_size) != (plan.digest, plan.embedding_model, plan.batch_size):
        await chunks.delete_all(connection, ref.ingestion_id)
        await flight.forget_calls_needed(connection, ref)
        stored = 0
        counts = {"stored_chunks": 0, "reused_chunks": 0, "refused_chunks": 0}
        values |= {**counts, "model_calls_needed": row.model_calls + plan.model_calls}
    await _set(connection, ref, {**values, "updated_at": now})
    progress = {"chunks_done": stored, "chunks_total": plan.chunks}
    begun = {"stage": Stage.EMBEDDING, "stage_started_at": now, "stage_done": stored}
    await show(connection, ref, {**progress, **begun, "updated_at": now})


async def publish(connection: AsyncConnection, ref: IngestionRef, *, now: datetime) -> Closed:
    """Make this version the one that answers: all of its chunks at once, and none of the old one's.

    The old one's chunks are deleted after the commit: large ones would hold the document for seconds.
    """
    document, row = await lock(connection, ref)
    if row is None or document is None or row.epoch != ref.epoch:
        raise _closed()
    if row.status in (IngestionStatus.PUBLISHED, IngestionStatus.RETIRED):
        return Closed(published=True, successor=await _successor(connection, ref, document))
    if row.status != IngestionStatus.RUNNING or document.status == DocumentStatus.DELETING:
        raise _closed()
    stored = await chunks.count(connection, ref.ingestion_id)
    if row.planned_chunks is None or stored != row.planned_chunks:
        raise IncompleteIngestion(f"{stored} of {row.planned_chunks or 0} chunks are stored. Press retry.")
    if document.active_ingestion_id is not None:
        await _retire(connection, document.active_ingestion_id, now=now)
    await _set(connection, ref, {"status": IngestionStatus.PUBLISHED, "finished_at": now, "updated_at": now})
    pages = row.pages if format_of(row).is_paged else None
    active = {
        "active_ingestion_id": ref.ingestion_id, "embedding_model": row.embedding_model, "page_count": pages,
        "chunk_count": stored, "refused_chunks": row.refused_chunks, "ready_at": now, "updated_at": now,
    }  # fmt: skip
    await connection.execute(update(documents).where(documents.c.id == ref.document_id).values(active))
    ready = {"status": DocumentStatus.READY, "stage": None, "chunks_done": stored, "chunks_total": stored}
    await show(connection, ref, {**ready, "error_code": None, "error_message": None})
    await contents.release_unused(connection, ref.document_id)
    return Closed(published=True, successor=await _successor(connection, ref, document))


async def park(connection: AsyncConnection, ref: IngestionRef, *, code: str, message: str, now: datetime) -> None:
    """Show that a person is needed, and why."""
    await _require(connection, ref, _OPEN)
    error = {"error_code": code, "error_message": message, "updated_at": now}
    await _set(connection, ref, {"status": IngestionStatus.PARKED, **error})
    await show(connection, ref, {"status": DocumentStatus.NEEDS_ATTENTION, **error})


async def close(connection: AsyncConnection, end: CloseIngestion, *, now: datetime) -> Closed:
    """End an ingestion without success, once; the document answers from its earlier version if it has one."""
    ref = end.ref
    document, row = await lock(connection, ref)
    if document is None or row is None:
        return Closed()
    if row.epoch == ref.epoch and row.status in (IngestionStatus.PUBLISHED, IngestionStatus.RETIRED):
        return Closed(published=True, successor=await _successor(connection, ref, document))
    if row.epoch == ref.epoch and row.status in _OPEN:
        error = {"error_code": end.code, "error_message": end.message, "updated_at": now}
        status = IngestionStatus.CANCELLED if end.cancelled else IngestionStatus.FAILED
        await _set(connection, ref, {"status": status, "finished_at": now, **error})
        await show(connection, ref, {**await _without(connection, document, end), "stage": None, **error})
        await contents.release_unused(connection, ref.document_id)
    return Closed(successor=await _successor(connection, ref, document))


async def hold_discarded(connection: AsyncConnection, ref: IngestionRef) -> bool:
    """Lock an ingestion, and tell whether what it stored is nobody's: it ended without success, or its row is gone."""
    _, row = await lock(connection, ref)
    return row is None or (row.epoch == ref.epoch and row.status in _UNSUCCESSFUL)


async def forget_artifacts(connection: AsyncConnection, ref: IngestionRef, *, now: datetime) -> None:
    """Make a later run extract and plan again."""
    gone = dict.fromkeys(
        (
            "pages", "characters", "pages_without_text", "planned_chunks", "shards", "plan_digest",
            "model_calls_needed",
        )
    )  # fmt: skip
    await _set(connection, ref, {**gone, "pages_recognized": 0, "updated_at": now})


async def forget_chunks(connection: AsyncConnection, ref: IngestionRef, count: int, *, now: datetime) -> None:
    """Record that so many chunks are stored no more."""
    left = func.greatest(ingestions.c.stored_chunks - count, 0)
    await _set(connection, ref, {"stored_chunks": left, "updated_at": now})


async def last_retired(connection: AsyncConnection, ref: IngestionRef) -> IngestionRef | None:
    """Find the version that this one replaced."""
    query = select(ingestions.c.id).where(
        ingestions.c.document_id == ref.document_id, ingestions.c.status == IngestionStatus.RETIRED
    )
    found = await connection.scalar(query.order_by(ingestions.c.version.desc()).limit(1))
    return None if found is None else ref.model_copy(update={"ingestion_id": IngestionId(found)})


def format_of(row: Row[Any]) -> Format:
    """Give the format that was accepted."""
    return Format(row.format)


async def show(connection: AsyncConnection, ref: IngestionRef, values: dict[str, Any], *where: Any) -> None:
    """Change the document's row while this version is its newest, and wake who watches it."""
    mine = (documents.c.id == ref.document_id) & (documents.c.current_ingestion_id == ref.ingestion_id)
    alive = documents.c.status != DocumentStatus.DELETING
    changed = await connection.execute(update(documents).where(mine, alive, *where).values(values))
    if changed.rowcount:
        await connection.execute(text("SELECT pg_notify('documents', :id)"), {"id": str(ref.document_id)})


async def _require(connection: AsyncConnection, ref: IngestionRef, statuses: tuple[IngestionStatus, ...]) -> Row[Any]:
    document, row = await lock(connection, ref)
    gone = document is None or document.status == DocumentStatus.DELETING
    if gone or row is None or row.epoch != ref.epoch or row.status not in statuses:
        raise _closed()
    return row


async def _go_on(
    connection: AsyncConnection, ref: IngestionRef, values: dict[str, Any], shown: dict[str, Any], *, now: datetime
) -> None:
    cleared = {"error_code": None, "error_message": None, "updated_at": now}
    await _set(connection, ref, {"status": IngestionStatus.RUNNING, **values, **cleared})
    await show(connection, ref, {"status": DocumentStatus.PROCESSING, **shown, **cleared})


async def _queue(connection: AsyncConnection, ref: IngestionRef, row: Row[Any], *, run_id: str, now: datetime) -> None:
    """Name the run that waits. What needed attention shows that it waits for its turn."""
    cleared = {"error_code": None, "error_message": None, "updated_at": now}
    await _set(connection, ref, {"status": IngestionStatus.PENDING, "run_id": run_id, **cleared})
    if row.status != IngestionStatus.PENDING:
        await show(connection, ref, {"status": DocumentStatus.PENDING, "stage": Stage.QUEUED, **cleared})


async def _set(connection: AsyncConnection, ref: IngestionRef, values: dict[str, Any]) -> None:
    await connection.execute(update(ingestions).where(ingestions.c.id == ref.ingestion_id).values(values))


async def _retire(connection: AsyncConnection, old: IngestionId, *, now: datetime) -> None:
    retired = {"status": IngestionStatus.RETIRED, "updated_at": now}
    await connection.execute(update(ingestions).where(ingestions.c.id == old).values(retired))


async def _without(connection: AsyncConnection, document: Row[Any], end: CloseIngestion) -> dict[str, Any]:
    """Decide what the document shows after an end without success."""
    if document.active_ingestion_id is None:
        return {"status": DocumentStatus.CANCELLED if end.cancelled else DocumentStatus.FAILED}
    query = select(ingestions).where(ingestions.c.id == document.active_ingestion_id)
    active = (await connection.execute(query)).one()
    shown = ("content_type", "size_bytes", "sha256", "version")
    # A server would call the page unchanged by the validators of bytes that did not make it.
    unknown = {"etag": None, "last_modified": None}
    encoding = {"encoding": active.encoding or active.detected_encoding}
    return {"status": DocumentStatus.READY, **unknown, **encoding, **{name: getattr(active, name) for name in shown}}


async def _successor(connection: AsyncConnection, ref: IngestionRef, document: Row[Any]) -> IngestionRef | None:
    """Find what waits for the same workflow id: a newer version, or this one taken up again; not by an import."""
    if document.status == DocumentStatus.DELETING:
        return None
    query = select(ingestions.c.id, ingestions.c.epoch).where(
        ingestions.c.id == document.current_ingestion_id,
        ingestions.c.status == IngestionStatus.PENDING,
        ingestions.c.import_id.is_(None),
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or (row.id, row.epoch) == (ref.ingestion_id, ref.epoch):
        return None
    return IngestionRef(
        owner_id=UserId(document.owner_id), bot_id=BotId(document.bot_id), document_id=DocumentId(document.id),
        ingestion_id=IngestionId(row.id), epoch=row.epoch,
    )  # fmt: skip


def _closed() -> IngestionClosed:
    return IngestionClosed("The ingestion has ended, or a newer version took its place.")
