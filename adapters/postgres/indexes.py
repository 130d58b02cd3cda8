"""Which bots have an index, and how far each is. Nothing here commits.

The row is written before the index is begun, and deleted with it: no index is without one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import keyword_segments, vector_indexes
from adapters.postgres.tables import bot_indexes, bots, documents
from domain.documents import DocumentStatus
from domain.ids import BotId, UserId
from domain.indexes import IndexState, is_wanted
from domain.steps import CloseIndex, IndexPlanned, IndexRef

ANSWERING = documents.c.active_ingestion_id.is_not(None) & (documents.c.status != DocumentStatus.DELETING)

_UNFINISHED = (IndexState.BUILDING, IndexState.DROPPING)
_GIVEN_UP = (IndexState.FAILED, IndexState.CANCELLED)


async def plan(connection: AsyncConnection, ref: IndexRef, *, threshold: int, now: datetime) -> IndexPlanned:
    """Decide what a bot's index needs, and show that it is being done."""
    row = (await connection.execute(_row(ref.bot_id).with_for_update())).one_or_none()
    alive = exists().where(bots.c.id == ref.bot_id, bots.c.owner_id == ref.owner_id, bots.c.deleting_at.is_(None))
    chunks = int(await connection.scalar(_size(ref.bot_id)) or 0) if await connection.scalar(select(alive)) else 0
    if not is_wanted(chunks, threshold=threshold, present=row is not None):
        dropped = update(bot_indexes).where(bot_indexes.c.bot_id == ref.bot_id)
        await connection.execute(dropped.values(state=IndexState.DROPPING, chunks=chunks, updated_at=now))
        return IndexPlanned(chunks=chunks, drop=row is not None)
    build = not await vector_indexes.is_valid(connection, ref.bot_id)
    coverage = await keyword_segments.coverage(connection, ref.bot_id)
    used = row is not None and row.state == IndexState.VALID and not build
    shown = {"state": IndexState.VALID if used else IndexState.BUILDING, "chunks": chunks, "updated_at": now}
    statement = postgresql.insert(bot_indexes).values(bot_id=ref.bot_id, owner_id=ref.owner_id, created_at=now, **shown)
    await connection.execute(statement.on_conflict_do_update(index_elements=["bot_id"], set_=shown))
    return IndexPlanned(chunks=chunks, build_vectors=build, index_keywords=coverage.is_worn)


async def close(connection: AsyncConnection, end: CloseIndex, *, now: datetime) -> None:
    """Write a run's end down. What was valid before stays valid: its keywords are only less fresh."""
    mine = (bot_indexes.c.bot_id == end.ref.bot_id) & (bot_indexes.c.state != IndexState.DROPPING)
    error = {"error_code": end.code, "error_message": end.message, "updated_at": now}
    if end.state is IndexState.VALID:
        valid = {"state": IndexState.VALID, "valid_at": func.coalesce(bot_indexes.c.valid_at, now)}
        await connection.execute(update(bot_indexes).where(mine).values({**valid, **error}))
        return
    await connection.execute(update(bot_indexes).where(mine).values(error))
    building = bot_indexes.c.state == IndexState.BUILDING
    await connection.execute(update(bot_indexes).where(mine, building).values(state=end.state, valid_at=None))


async def state_of(connection: AsyncConnection, bot: BotId) -> IndexState | None:
    """Tell how far a bot's index is; None where there is none."""
    found = await connection.scalar(select(bot_indexes.c.state).where(bot_indexes.c.bot_id == bot))
    return None if found is None else IndexState(found)


async def read(connection: AsyncConnection, owner: UserId, bot: BotId) -> tuple[int, Row[Any] | None]:
    """Count the chunks of an owner's bot that answer, and read what there is of its index."""
    mine = bot_indexes.c.owner_id == owner
    row = (await connection.execute(_row(bot).where(mine))).one_or_none()
    return int(await connection.scalar(_size(bot)) or 0), row


async def retire(connection: AsyncConnection, bot: BotId, *, now: datetime) -> bool:
    """Take the index of a bot that is being deleted out of use. False where there is none, or it was done before."""
    used = (bot_indexes.c.bot_id == bot) & (bot_indexes.c.state != IndexState.DROPPING)
    dropping = {"state": IndexState.DROPPING, "updated_at": now}
    return bool((await connection.execute(update(bot_indexes).where(used).values(dropping))).rowcount)


async def to_look_after(
    connection: AsyncConnection, *, threshold: int, before: datetime, given_up_before: datetime, limit: int
) -> Sequence[IndexRef]:
    """Find bots that grew over the threshold or shrank below its half, and indexes that were left or have worn."""
    sizes = (
        select(documents.c.bot_id, documents.c.owner_id, func.sum(documents.c.chunk_count).label("chunks"))
        .where(ANSWERING)
        .group_by(documents.c.bot_id, documents.c.owner_id)
        .having(func.sum(documents.c.chunk_count) >= max(1, threshold // 2))
        .cte("sizes")
    )
    known = bot_indexes.c.bot_id == sizes.c.bot_id
    grown = (
        select(sizes.c.owner_id, sizes.c.bot_id)
        .join(bots, bots.c.id == sizes.c.bot_id)
        .where(sizes.c.chunks >= threshold, bots.c.deleting_at.is_(None), ~exists().where(known))
    )
    unfinished = bot_indexes.c.state.in_(_UNFINISHED) & (bot_indexes.c.updated_at < before)
    given_up = bot_indexes.c.state.in_(_GIVEN_UP) & (bot_indexes.c.updated_at < given_up_before)
    shrunk = (bot_indexes.c.state == IndexState.VALID) & ~exists().where(known)
    left = select(bot_indexes.c.owner_id, bot_indexes.c.bot_id).where(or_(unfinished, given_up, shrunk))
    found = [*(await connection.execute(grown.limit(limit))), *(await connection.execute(left.limit(limit)))]
    found += await keyword_segments.worn(connection, before=before, limit=limit)
    return [IndexRef(owner_id=UserId(row.owner_id), bot_id=BotId(row.bot_id)) for row in found]


def _row(bot: BotId) -> Select[Any]:
    return select(bot_indexes).where(bot_indexes.c.bot_id == bot)


def _size(bot: BotId) -> Select[Any]:
    return select(func.sum(documents.c.chunk_count)).where(documents.c.bot_id == bot, ANSWERING)
