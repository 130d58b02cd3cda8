"""What the readers of a process have not seen yet, read for all who wait in one statement at a time."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.turn_events import Event, Feed
from adapters.together import Together
from domain.conversation import EventType, TurnStatus
from domain.ids import TurnId

_READERS = 100
_EVENTS = 500  # of one turn at a time

_READ = text(
    """
    SELECT wanted.place, turns.status, turns.last_sequence, turns.cut_off, event.sequence, event.type, event.data
    FROM unnest(CAST(:turns AS uuid[]), CAST(:afters AS bigint[])) WITH ORDINALITY AS wanted (turn, after, place)
    JOIN turns ON turns.id = wanted.turn
    LEFT JOIN LATERAL (
        SELECT sequence, type, data FROM turn_events
        WHERE turn_events.turn_id = turns.id AND turn_events.sequence > wanted.after
        ORDER BY sequence LIMIT :limit
    ) AS event ON true
    ORDER BY wanted.place, event.sequence
    """
).columns(data=JSONB)


class Feeds:
    """Reads for all readers of this process."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement, one round trip
        self._together = Together(self._read, most=_READERS)

    async def read(self, turn_id: TurnId, *, after: int) -> Feed | None:
        """Read the events after a sequence, and where the turn stands. None where the turn is gone."""
        return await self._together.ask((turn_id, after))

    async def _read(self, wanted: Sequence[tuple[TurnId, int]]) -> list[Feed | None]:
        values = {"turns": [turn for turn, _ in wanted], "afters": [after for _, after in wanted], "limit": _EVENTS}
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_READ, values)).all()
        feeds: list[Feed | None] = [None] * len(wanted)
        for place, group in groupby(rows, key=lambda row: row.place):
            found = list(group)
            events = [Event(row.sequence, EventType(row.type), row.data) for row in found if row.sequence is not None]
            feeds[place - 1] = Feed(TurnStatus(found[0].status), found[0].last_sequence, events, found[0].cut_off)
        return feeds
