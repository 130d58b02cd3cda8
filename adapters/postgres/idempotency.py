"""Idempotency keys: a row in the transaction of the effect, so that a concurrent twin waits and then sees it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import idempotency_keys
from domain.errors import IdempotencyInProgress, IdempotencyKeyReused
from domain.ids import TurnId

_LOCK_NOT_AVAILABLE = "55P03"
_COME_BACK = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the first request with this key left."""

    response: bytes | None
    turn_id: TurnId | None


async def claim(
    connection: AsyncConnection, scope: str, key_hash: bytes, fingerprint: bytes, *, turn_id: TurnId | None = None
) -> Earlier | None:
    """Take the key for this request; None where it is the first.

    Raises `IdempotencyKeyReused`, and `IdempotencyInProgress` where the first has not committed in time.
    """
    row = {"scope": scope, "key_hash": key_hash, "fingerprint": fingerprint, "turn_id": turn_id}
    if await _insert(connection, row):
        return None
    first: Row[Any] = (await connection.execute(select(idempotency_keys).where(_is(scope, key_hash)))).one()
    if first.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            param="Idempotency-Key",
        )
    return Earlier(response=first.response, turn_id=_turn(first.turn_id))


async def keep(connection: AsyncConnection, scope: str, key_hash: bytes, response: bytes) -> bytes | None:
    """Store the answer beside the key; where a twin stored one meanwhile, give that instead."""
    mine = _is(scope, key_hash)
    stored = update(idempotency_keys).where(mine, idempotency_keys.c.response.is_(None)).values(response=response)
    if (await connection.execute(stored)).rowcount:
        return None
    return (await connection.execute(select(idempotency_keys.c.response).where(mine))).scalar_one_or_none()


async def release(connection: AsyncConnection, scope: str, key_hash: bytes) -> None:
    """Free a key whose request failed after it was claimed."""
    unanswered = _is(scope, key_hash) & idempotency_keys.c.response.is_(None)
    await connection.execute(delete(idempotency_keys).where(unanswered))


async def bind_turn(connection: AsyncConnection, scope: str, name: bytes, fingerprint: bytes, turn_id: TurnId) -> None:
    """Remember a turn under a name that requests of the same words share; a later turn takes its place."""
    await _replace(connection, scope, name, fingerprint, {"turn_id": turn_id})


async def bound_turn(connection: AsyncConnection, scope: str, name: bytes) -> TurnId | None:
    """Give the turn that is remembered under a name."""
    query = select(idempotency_keys.c.turn_id).where(_is(scope, name))
    return _turn((await connection.execute(query)).scalar_one_or_none())


async def leave(connection: AsyncConnection, scope: str, name: bytes, fingerprint: bytes, response: bytes) -> None:
    """Store an answer under a name that requests of the same words share; a later one takes its place."""
    await _replace(connection, scope, name, fingerprint, {"response": response})


async def left(connection: AsyncConnection, scope: str, name: bytes, *, since: datetime) -> bytes | None:
    """Give the answer that was stored under a name since then."""
    recent = _is(scope, name) & (idempotency_keys.c.created_at > since)
    return (await connection.execute(select(idempotency_keys.c.response).where(recent))).scalar_one_or_none()


async def _replace(
    connection: AsyncConnection, scope: str, name: bytes, fingerprint: bytes, latest: dict[str, Any]
) -> None:
    statement = insert(idempotency_keys).values(scope=scope, key_hash=name, fingerprint=fingerprint, **latest)
    latest = {**latest, "created_at": func.now()}
    await connection.execute(statement.on_conflict_do_update(index_elements=["scope", "key_hash"], set_=latest))


async def _insert(connection: AsyncConnection, row: dict[str, Any]) -> bool:
    """Tell whether the key was free. A twin's uncommitted row is waited for, as long as for any lock."""
    statement = insert(idempotency_keys).values(row).on_conflict_do_nothing().returning(func.now())
    try:
        return (await connection.execute(statement)).one_or_none() is not None
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise IdempotencyInProgress(
            "The first request with this Idempotency-Key is still being carried out. Send it again in a moment.",
            param="Idempotency-Key",
            retry_after=_COME_BACK,
        ) from error


def _is(scope: str, key_hash: bytes) -> Any:
    return (idempotency_keys.c.scope == scope) & (idempotency_keys.c.key_hash == key_hash)


def _turn(value: UUID | None) -> TurnId | None:
    return None if value is None else TurnId(value)
