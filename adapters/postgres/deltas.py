"""The pieces of answers that are being written: of all turns of a process in one statement at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres import turn_events
from adapters.postgres.tables import turn_events as events
from adapters.postgres.tables import turns
from adapters.postgres.turns import Claim
from adapters.together import Together
from domain.conversation import EventType, TurnStatus
from domain.errors import TurnClosed
from domain.ids import TurnId

_MOST = 500
_WINDOW = timedelta(milliseconds=50)
_PIECES_A_SECOND = 1000

# As `turn_events.append`, for many turns. A row that somebody else holds is passed over, so that no turn waits for
# another's; the piece is then appended by itself.
_APPEND = text(
    """
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:turns AS uuid[]), CAST(:attempts AS integer[]), CAST(:afters AS bigint[]), CAST(:pieces AS text[])
        ) AS given (turn, attempt, after, piece)
    ), held AS (
        SELECT turns.id, given.piece
        FROM given JOIN turns ON turns.id = given.turn AND turns.status = 'running'
             AND turns.attempt = given.attempt AND turns.last_sequence = given.after
        ORDER BY turns.id
        FOR NO KEY UPDATE OF turns SKIP LOCKED
    ), turn AS (
        UPDATE turns SET last_sequence = last_sequence + 1 FROM held WHERE turns.id = held.id
        RETURNING turns.id, turns.last_sequence, turns.attempt, held.piece
    ), event AS (
        INSERT INTO turn_events (turn_id, sequence, attempt, type, data)
        SELECT id, last_sequence, attempt, 'message.delta', jsonb_build_object('text', piece) FROM turn
        RETURNING turn_id, sequence
    )
    SELECT turn_id, sequence, pg_notify('turn_events', CAST(turn_id AS text)) FROM event
    """
)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece that comes after sequence `after` of its turn's events, by the generation that holds the claim."""

    turn_id: TurnId
    claim: Claim
    after: int
    text: str


class Deltas:
    """Appends pieces for all generations of this process."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement, one round trip
        self._together = Together(self._append, most=_MOST)
        self._answers = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count an answer that pieces come of."""
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1

    @property
    def window(self) -> timedelta:
        """How long what an answer says is gathered, so that a fast model does not cost a row a token.

        It grows with the answers that are written beside it, so that the rows of a process do not: each costs the
        worker, the database, the API and the reader as much as some words do.
        """
        return max(_WINDOW, timedelta(seconds=self._answers / _PIECES_A_SECOND))

    async def append(self, delta: Delta) -> int:
        """Append a piece; answers its sequence. A second time finds the first. Raises `TurnClosed`."""
        sequence = await self._together.ask(delta)
        if sequence is not None:
            return sequence
        async with self._engine.connect() as connection:
            return await append_one(connection, delta)

    async def _append(self, deltas: Sequence[Delta]) -> list[int | None]:
        values = {
            "turns": [delta.turn_id for delta in deltas],
            "attempts": [delta.claim.attempt for delta in deltas],
            "afters": [delta.after for delta in deltas],
            "pieces": [delta.text for delta in deltas],
        }
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_APPEND, values)).all()
        found = {row.turn_id: row.sequence for row in rows}
        return [found.get(delta.turn_id) for delta in deltas]


async def append_one(connection: AsyncConnection, delta: Delta) -> int:
    """Append a piece by itself; a second time finds the first. Raises `TurnClosed`."""
    data, after, attempt = {"text": delta.text}, delta.after, delta.claim.attempt
    try:
        return await turn_events.append(connection, delta.turn_id, EventType.DELTA, data, attempt=attempt, after=after)
    except TurnClosed:
        # The connection may have broken after the commit: then the piece is there, and nothing follows it.
        query = select(events.c.data).join(turns, turns.c.id == events.c.turn_id).where(
            turns.c.id == delta.turn_id, turns.c.attempt == attempt, turns.c.last_sequence == after + 1,
            turns.c.status == TurnStatus.RUNNING,
            events.c.sequence == after + 1, events.c.type == EventType.DELTA,
        )  # fmt: skip
        if (await connection.execute(query)).scalar_one_or_none() != data:
            raise
        return after + 1
