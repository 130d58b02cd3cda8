"""A turn's events: appended in order, read from any process, woken by a notification."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import bindparam, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import turn_events, turns
from domain.conversation import FINAL_TURN, EventType, TurnStatus
from domain.errors import TurnClosed
from domain.ids import TurnId

CHANNEL = "turn_events"
ENDS = "turn_ends"

# One statement, so that one round trip makes a delta durable and wakes its readers. The update locks the turn's
# row until the commit: sequences become visible in their order, and a writer that lost its turn finds no row.
_APPEND = text(
    """
    WITH turn AS (
        UPDATE turns SET last_sequence = last_sequence + 1
        WHERE id = :turn AND status = 'running'
          AND attempt = coalesce(CAST(:attempt AS integer), attempt)
          AND last_sequence = coalesce(CAST(:after AS bigint), last_sequence)
        RETURNING last_sequence, attempt
    ), event AS (
        INSERT INTO turn_events (turn_id, sequence, attempt, type, data)
        SELECT :turn, last_sequence, attempt, :type, CAST(:data AS jsonb) FROM turn
        RETURNING sequence
    )
    SELECT sequence, pg_notify('turn_events', CAST(:turn AS text)) FROM event
    """
)

# What a reader of the last attempt has seen: every delta after the last reset.
_SHOWN = text(
    """
    SELECT coalesce(string_agg(data ->> 'text', '' ORDER BY sequence), '')
    FROM turn_events
    WHERE turn_id = :turn AND type = 'message.delta' AND sequence > (
        SELECT coalesce(max(sequence), 0) FROM turn_events WHERE turn_id = :turn AND type = 'message.reset'
    )
    """
)


_KINDS = text(
    """
    SELECT type FROM turn_events
    WHERE turn_id = :turn AND type IN ('message.delta', 'message.reset') ORDER BY sequence
    """
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it is sent."""

    sequence: int
    type: EventType
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Feed:
    """Events after a sequence, in order, and where the turn stands."""

    status: TurnStatus
    last_sequence: int
    events: list[Event]
    cut_off: bool  # the answer's tokens were spent

    @property
    def final(self) -> bool:
        """Tell whether nothing more will come."""
        return self.status in FINAL_TURN


async def append(
    connection: AsyncConnection,
    turn_id: TurnId,
    type: EventType,  # noqa: A002  (the column's name)
    data: Mapping[str, Any],
    *,
    attempt: int | None = None,
    after: int | None = None,
) -> int:
    """Append one event to a running turn and answer its sequence.

    `attempt` and `after` fence the writer: the generation that may write, the last sequence it knows.
    Raises `TurnClosed` where the turn is over, gone, or another writer's.
    """
    values = {"turn": turn_id, "attempt": attempt, "after": after, "type": type.value, "data": json.dumps(data)}
    row = (await connection.execute(_APPEND, values)).one_or_none()
    if row is None:
        raise TurnClosed("The turn is finished, was deleted, or is written by a later attempt.")
    return int(row.sequence)


async def shown_text(connection: AsyncConnection, turn_id: TurnId) -> str:
    """Put together what was streamed since the last reset."""
    return str((await connection.execute(_SHOWN, {"turn": turn_id})).scalar_one())


async def dropped_texts(connection: AsyncConnection, turn_id: TurnId) -> int:
    """Count the texts that were begun and dropped, as far as their events are kept."""
    rows = await connection.execute(_KINDS, {"turn": turn_id})
    kinds = [EventType(row.type) for row in rows]
    return sum(pair == (EventType.DELTA, EventType.RESET) for pair in pairwise(kinds))


_FIRST = (
    select(turn_events.c.data)
    .where(turn_events.c.turn_id == bindparam("turn"), turn_events.c.type == bindparam("kind"))
    .order_by(turn_events.c.sequence)
    .limit(1)
)
_HAS = _FIRST.with_only_columns(literal(True)).order_by(None)
_STATUS = select(turns.c.status).where(turns.c.id == bindparam("turn"))


async def has_event(connection: AsyncConnection, turn_id: TurnId, type: EventType) -> bool:  # noqa: A002  (the column's name)
    """Tell whether an event of this type was appended."""
    return (await connection.execute(_HAS, {"turn": turn_id, "kind": type.value})).first() is not None


async def data_of(connection: AsyncConnection, turn_id: TurnId, type: EventType) -> dict[str, Any] | None:  # noqa: A002  (the column's name)
    """Read what the first event of this type tells; None where there is none."""
    return (await connection.execute(_FIRST, {"turn": turn_id, "kind": type.value})).scalar_one_or_none()


async def is_final(connection: AsyncConnection, turn_id: TurnId) -> bool:
    """Tell whether a turn has ended, or is gone."""
    status = (await connection.execute(_STATUS, {"turn": turn_id})).scalar_one_or_none()
    return status is None or TurnStatus(status) in FINAL_TURN
