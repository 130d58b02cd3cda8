"""The passages that a turn's model is given, in the order of their markers. Nothing here commits."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import turn_passages
from domain.ids import ChunkId, DocumentId, TurnId
from domain.retrieval import Passage

_COLUMNS = ", ".join(column.name for column in turn_passages.c)
# All in one statement; with `insert` it is one for each.
_ADD = text(
    f"""
    INSERT INTO turn_passages ({_COLUMNS})
    SELECT {_COLUMNS} FROM json_populate_recordset(CAST(NULL AS turn_passages), CAST(:passages AS json))
    """  # noqa: S608  (constants of this module)
)
_OF_TURN = turn_passages.c.turn_id == bindparam("turn")
_READ = select(turn_passages).where(_OF_TURN).order_by(turn_passages.c.marker)
_TAKE = delete(turn_passages).where(_OF_TURN).returning(turn_passages)
_CLEAR = delete(turn_passages).where(_OF_TURN)


async def add(connection: AsyncConnection, turn_id: TurnId, passages: Sequence[Passage]) -> None:
    """Store passages, each under a marker of its own; the caller holds the turn."""
    if passages:
        rows = [_row(turn_id, passage) for passage in passages]
        await connection.execute(_ADD, {"passages": json.dumps(rows, default=str)})


async def clear(connection: AsyncConnection, turn_id: TurnId) -> None:
    """Make room for others; the caller holds the turn."""
    await connection.execute(_CLEAR, {"turn": turn_id})


async def take(connection: AsyncConnection, turn_id: TurnId) -> list[Passage]:
    """Read them for the last time: what an answer cites is in its citations."""
    taken = await connection.execute(_TAKE, {"turn": turn_id})
    return sorted(map(_passage, taken), key=lambda passage: passage.marker)


def _row(turn_id: TurnId, passage: Passage) -> dict[str, object]:
    return {
        "turn_id": turn_id,
        "marker": passage.marker,
        "chunk_id": passage.chunk_id,
        "document_id": passage.document_id,
        "document_name": passage.document_name,
        "page": passage.page,
        "page_starts": list(passage.page_starts),
        "heading_path": list(passage.heading_path),
        "content": passage.content,
        "score": passage.score,
        "char_start": passage.char_start,
        "later_chunks": list(passage.later_chunks),
        "chunk_starts": list(passage.chunk_starts),
    }


async def read(connection: AsyncConnection, turn_id: TurnId) -> list[Passage]:
    """Read what the model is given, in the order of the markers."""
    return [_passage(row) for row in await connection.execute(_READ, {"turn": turn_id})]


def _passage(row: Row[Any]) -> Passage:
    return Passage(
        marker=row.marker,
        chunk_id=ChunkId(row.chunk_id),
        document_id=DocumentId(row.document_id),
        document_name=row.document_name,
        page=row.page,
        page_starts=tuple(row.page_starts),
        heading_path=tuple(row.heading_path),
        content=row.content,
        score=row.score,
        char_start=row.char_start,
        later_chunks=tuple(map(ChunkId, row.later_chunks)),
        chunk_starts=tuple(row.chunk_starts),
    )
