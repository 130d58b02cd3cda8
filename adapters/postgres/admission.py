"""Who of an owner's documents may be worked on: so many at once, the others in the order in which they came.

The line is what is `pending` and has a run of its own to come; a place in it is no row of its own.
Documents of a bulk import are ingested in packs, and neither stand in it nor count. Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.documents import IngestionRef
from domain.ids import BotId, DocumentId, IngestionId, UserId

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:line, 0))")

# Of those ahead no more are looked at than the answer needs.
_MAY_BEGIN = text(
    """
    SELECT (SELECT count(*) FROM ingestions
            WHERE owner_id = :owner AND status = 'running' AND import_id IS NULL)
         + (SELECT count(*) FROM (
               SELECT 1 FROM ingestions ahead
               WHERE ahead.owner_id = :owner AND ahead.status = 'pending' AND ahead.import_id IS NULL
                 AND (ahead.created_at, ahead.id) < ((SELECT created_at FROM ingestions WHERE id = :ingestion), :ingestion)
               LIMIT :cap) AS line)
         < :cap
    """
)
_FIRST = """
    SELECT i.id, i.document_id, i.owner_id, i.bot_id, i.epoch, i.run_id FROM ingestions i
    WHERE i.owner_id = {owner} AND i.status = 'pending' AND i.import_id IS NULL
    ORDER BY i.created_at, i.id
    LIMIT least(CAST(:limit AS bigint), greatest(0, CAST(:cap AS bigint) - (
        SELECT count(*) FROM ingestions r WHERE r.owner_id = {owner} AND r.status = 'running' AND r.import_id IS NULL
    )))
"""
_NEXT = text(_FIRST.format(owner=":owner"))
_FORGOTTEN = text(
    f"""
    SELECT line.* FROM (
        SELECT DISTINCT owner_id FROM ingestions WHERE status = 'pending' AND import_id IS NULL
    ) AS owners
    CROSS JOIN LATERAL ({_FIRST.format(owner="owners.owner_id")}) AS line
    JOIN documents d ON d.id = line.document_id AND d.current_ingestion_id = line.id
    WHERE d.status = 'pending' AND d.updated_at < :before
    ORDER BY d.updated_at LIMIT :limit
    """  # noqa: S608  (constants of this module)
)
_NO_CAP = 1 << 31


@dataclass(frozen=True, slots=True)
class Waiting:
    """A document that may begin; `run_id` names the run that waits for it, none where it has none yet."""

    ref: IngestionRef
    run_id: str | None


async def lock(connection: AsyncConnection, owner: UserId) -> None:
    """Let one at a time of an owner's documents be admitted, until the transaction ends."""
    await connection.execute(_LOCK, {"line": f"admission {owner}"})


async def may_begin(connection: AsyncConnection, ref: IngestionRef, *, cap: int) -> bool:
    """Tell whether there is room for this one, and for all who came before it."""
    values = {"owner": ref.owner_id, "ingestion": ref.ingestion_id, "cap": cap}
    return bool((await connection.execute(_MAY_BEGIN, values)).scalar_one())


async def next_in_line(connection: AsyncConnection, owner: UserId, *, cap: int, limit: int) -> list[Waiting]:
    """List those of an owner who may begin, the first in line first."""
    return _waiting((await connection.execute(_NEXT, {"owner": owner, "cap": cap, "limit": limit})).all())


async def forgotten(connection: AsyncConnection, *, cap: int | None, before: datetime, limit: int) -> list[Waiting]:
    """List those of all owners who may begin, and to whom nothing happened since `before`."""
    values = {"cap": cap or _NO_CAP, "before": before, "limit": limit}
    return _waiting((await connection.execute(_FORGOTTEN, values)).all())


def _waiting(rows: Sequence[Row[Any]]) -> list[Waiting]:
    return [
        Waiting(
            IngestionRef(
                owner_id=UserId(row.owner_id), bot_id=BotId(row.bot_id), document_id=DocumentId(row.document_id),
                ingestion_id=IngestionId(row.id), epoch=row.epoch,
            ),
            row.run_id,
        )
        for row in rows
    ]  # fmt: skip
