"""What nobody will ask for again. Nothing here commits; every statement is bounded."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, TextClause, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import chunks
from adapters.postgres.tables import documents, files, imports, ingestions
from domain.documents import IngestionStatus
from domain.ids import DocumentId, FileId, ImportId, IngestionId
from domain.imports import FINAL

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# How long things are kept that nobody needs afterwards.
EVENTS_KEPT = timedelta(hours=24)  # of finished turns: a client resumes within minutes
KEYS_KEPT = timedelta(hours=24)  # idempotency
TOKENS_KEPT = timedelta(days=7)  # expired refresh tokens: reuse of one still revokes its family
EDGES_KEPT = timedelta(hours=24)  # places in lists: a client walks a list within minutes
BUDGETS_KEPT = timedelta(hours=24)  # of models that nobody calls: what was learnt is not true any more

_EXPIRE_EVENTS = text(
    """
    DELETE FROM turn_events WHERE ctid = ANY (ARRAY (
        SELECT e.ctid FROM turn_events e JOIN turns t ON t.id = e.turn_id
        WHERE e.created_at < :before AND t.finished_at < :before AND t.status IN ('complete', 'partial', 'failed')
        LIMIT :limit
    ))
    """
)


def _older(table: str, moment: str) -> TextClause:
    return text(
        f"""
        DELETE FROM {table} WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM {table} WHERE {moment} < :before LIMIT :limit
        ))
        """  # noqa: S608  (constants of this module)
    )


EXPIRIES: tuple[tuple[TextClause, timedelta], ...] = (
    (_EXPIRE_EVENTS, EVENTS_KEPT),
    (_older("idempotency_keys", "created_at"), KEYS_KEPT),
    (_older("refresh_tokens", "expires_at"), TOKENS_KEPT),
    (_older("provider_budgets", "updated_at"), BUDGETS_KEPT),
    (_older("list_edges", "created_at"), EDGES_KEPT),
    (_older("files", "expires_at"), timedelta()),
)


async def expire(connection: AsyncConnection, statement: TextClause, *, before: datetime, limit: int) -> int:
    """Delete some of what is older than `before`."""
    result = await connection.execute(statement, {"before": before, "limit": limit})
    return int(result.rowcount)


async def without_document(connection: AsyncConnection, names: Sequence[str]) -> list[DocumentId]:
    """Pick the names that are ids, and of no document."""
    ids = _ids(names)
    found = await connection.execute(select(documents.c.id).where(documents.c.id.in_(ids)))
    return [DocumentId(id_) for id_ in sorted(ids - set(found.scalars()))]


async def without_import(connection: AsyncConnection, names: Sequence[str]) -> list[ImportId]:
    """Pick the names that are ids, and of no import that is at work or has an archive to unpack."""
    ids = _ids(names)
    needed = imports.c.archive | imports.c.status.not_in(FINAL)
    found = await connection.execute(select(imports.c.id).where(imports.c.id.in_(ids), needed))
    return [ImportId(id_) for id_ in sorted(ids - set(found.scalars()))]


async def without_file(connection: AsyncConnection, names: Sequence[str]) -> list[FileId]:
    """Pick the names that are ids, and of no file."""
    ids = _ids(names)
    found = await connection.execute(select(files.c.id).where(files.c.id.in_(ids)))
    return [FileId(id_) for id_ in sorted(ids - set(found.scalars()))]


async def without_use(connection: AsyncConnection, names: Sequence[str], *, before: datetime) -> list[IngestionId]:
    """Pick the names that are ids, and of no version of a document that has a use."""
    ids = _ids(names)
    found = await connection.execute(select(ingestions.c.id).where(ingestions.c.id.in_(ids)))
    useless = select(ingestions.c.id).join(documents).where(ingestions.c.id.in_(ids), _useless(before))
    used = set(found.scalars()) - set((await connection.execute(useless)).scalars())
    return [IngestionId(id_) for id_ in sorted(ids - used)]


async def useless_chunks(connection: AsyncConnection, *, before: datetime, limit: int) -> list[IngestionId]:
    """Name versions that have no use, and chunks."""
    query = select(ingestions.c.id).join(documents).where(ingestions.c.stored_chunks > 0, _useless(before))
    return [IngestionId(id_) for id_ in (await connection.execute(query.limit(limit))).scalars()]


async def delete_useless(connection: AsyncConnection, ingestion: IngestionId, *, limit: int) -> int:
    """Delete some of a version's chunks; answers how many."""
    deleted = await chunks.delete_some(connection, ingestion, limit=limit)
    if deleted < limit:
        none = update(ingestions).where(ingestions.c.id == ingestion).values(stored_chunks=0)
        await connection.execute(none)
    return deleted


def _useless(before: datetime) -> ColumnElement[bool]:
    """A version that was replaced, or that failed and cannot be retried, since another is newer or answers."""
    ended = ingestions.c.status.in_((IngestionStatus.FAILED, IngestionStatus.CANCELLED))
    elsewhere = (ingestions.c.id != documents.c.current_ingestion_id) | documents.c.active_ingestion_id.is_not(None)
    retired = ingestions.c.status == IngestionStatus.RETIRED
    return (retired | (ended & elsewhere)) & (ingestions.c.updated_at < before)


def _ids(names: Sequence[str]) -> set[UUID]:
    return {UUID(name) for name in names if _UUID.fullmatch(name)}
