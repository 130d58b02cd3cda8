"""Idempotency keys: a row in the transaction of the effect, so that a concurrent twin waits and then sees it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import idempotency_keys
from domain.errors import IdempotencyKeyReused
from domain.ids import TurnId


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the first request with this key left."""

    response: bytes | None
    turn_id: TurnId | None


async def claim(
    connection: AsyncConnection, scope: str, key_hash: bytes, fingerprint: bytes, *, turn_id: TurnId | None = None
) -> Earlier | None:
    """Take the key for this request; None where it is the first. Raises `IdempotencyKeyReused`."""
    row = {"scope": scope, "key_hash": key_hash, "fingerprint": fingerprint, "turn_id": turn_id}
    taken = await connection.execute(
        insert(idempotency_keys).values(row).on_conflict_do_nothing().returning(func.now())
    )
    if taken.one_or_none() is not None:
        return None
    first: Row[Any] = (await connection.execute(select(idempotency_keys).where(_is(scope, key_hash)))).one()
    if first.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            param="Idempotency-Key",
        )
    return Earlier(response=first.response, turn_id=_turn(first.turn_id))


async def keep(connection: AsyncConnection, scope: str, key_hash: bytes, response: bytes) -> None:
    """Store the answer beside the key, in the same transaction."""
    await connection.execute(update(idempotency_keys).where(_is(scope, key_hash)).values(response=response))


def _is(scope: str, key_hash: bytes) -> Any:
    return (idempotency_keys.c.scope == scope) & (idempotency_keys.c.key_hash == key_hash)


def _turn(value: UUID | None) -> TurnId | None:
    return None if value is None else TurnId(value)
