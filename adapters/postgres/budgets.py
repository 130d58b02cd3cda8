"""Provider budgets: one row a model, shared by every process. Nothing here commits.

A share is taken by one statement, whose condition is evaluated under the row's lock: two workers
never have the same one. What the shares are is decided in `domain/budget.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import provider_budgets as table
from domain.budget import Budget, Limits, Share

_ALWAYS = timedelta(days=36_500)

# What was seen fades to a third in a minute: at an even rate that is the last minute's count.
_FADED = "exp(greatest(-50, least(0, extract(epoch FROM b.updated_at - CAST(:now AS timestamptz))::float8 / 60)))"
# What the last half second before a crash took may be taken again: nobody waits for the disk (0.9 ms a share, not 5.8).
_NO_FLUSH = "(SELECT set_config('synchronous_commit', 'off', true)) AS no_flush"

_NOTE = text(
    f"""
    INSERT INTO provider_budgets AS b (provider, model, requests_seen, tokens_seen, updated_at)
    SELECT :provider, :model, CAST(:requests AS float8), CAST(:tokens AS float8), CAST(:now AS timestamptz)
    FROM {_NO_FLUSH}
    ON CONFLICT (provider, model) DO UPDATE SET
        requests_seen = b.requests_seen * {_FADED} + excluded.requests_seen,
        tokens_seen = b.tokens_seen * {_FADED} + excluded.tokens_seen,
        updated_at = greatest(b.updated_at, excluded.updated_at)
    RETURNING *
    """  # noqa: S608  (constants of this module)
)

_TAKE = text(
    f"""
    UPDATE provider_budgets AS b SET
        requests_free_at = greatest(coalesce(requests_free_at, :now), :now) + :request_cost,
        tokens_free_at = greatest(coalesce(tokens_free_at, :now), :now) + :token_cost,
        requests_seen = requests_seen * {_FADED} + 1,
        tokens_seen = tokens_seen * {_FADED} + :tokens,
        updated_at = greatest(updated_at, :now)
    FROM {_NO_FLUSH}
    WHERE provider = :provider AND model = :model
      AND requests_per_minute IS NOT DISTINCT FROM :requests_limit
      AND tokens_per_minute IS NOT DISTINCT FROM :tokens_limit
      AND coalesce(paused_until, :now) <= :now
      AND coalesce(requests_free_at, :now) <= :requests_by
      AND coalesce(tokens_free_at, :now) <= :tokens_by
    RETURNING b.*
    """  # noqa: S608  (constants of this module)
)


_RECENT = text(
    f"""
    SELECT provider, model, requests_per_minute, tokens_per_minute, requests_free_at, tokens_free_at, paused_until,
           lowered_at, raised_at, requests_seen * {_FADED} AS requests_seen, tokens_seen * {_FADED} AS tokens_seen
    FROM provider_budgets AS b WHERE updated_at >= :since ORDER BY updated_at DESC LIMIT :limit
    """  # noqa: S608  (constants of this module)
)


@dataclass(frozen=True, slots=True)
class Key:
    """Whose budget it is."""

    provider: str
    model: str


async def note(connection: AsyncConnection, key: Key, *, requests: int, tokens: int, now: datetime) -> Budget:
    """Count calls that took no share, and read the budget; a row that is missing is made."""
    values = {"provider": key.provider, "model": key.model, "requests": float(requests), "tokens": float(tokens)}
    return _budget((await connection.execute(_NOTE, values | {"now": now})).one())


async def take(
    connection: AsyncConnection, key: Key, share: Share, *, adapted: Limits, tokens: int, now: datetime
) -> Budget | None:
    """Take a share that was cut for these limits. None, and nothing taken, where it cannot be had just now."""
    values = {
        "provider": key.provider, "model": key.model, "now": now, "tokens": float(tokens),
        "request_cost": share.request_cost, "token_cost": share.token_cost,
        "requests_limit": adapted.requests, "tokens_limit": adapted.tokens,
        "requests_by": now + _or_always(share.request_tolerance), "tokens_by": now + _or_always(share.token_tolerance),
    }  # fmt: skip
    row = (await connection.execute(_TAKE, values)).one_or_none()
    return None if row is None else _budget(row)


async def hold(connection: AsyncConnection, key: Key, *, now: datetime) -> Budget:
    """Read the budget as it is `now`, locked until the transaction ends."""
    return await note(connection, key, requests=0, tokens=0, now=now)


async def store(connection: AsyncConnection, key: Key, budget: Budget) -> None:
    """Write what was decided for a budget that is held."""
    values = {
        "requests_per_minute": budget.adapted.requests, "tokens_per_minute": budget.adapted.tokens,
        "requests_free_at": budget.requests_free_at, "tokens_free_at": budget.tokens_free_at,
        "paused_until": budget.paused_until, "lowered_at": budget.lowered_at, "raised_at": budget.raised_at,
        "requests_seen": budget.requests_seen, "tokens_seen": budget.tokens_seen,
    }  # fmt: skip
    mine = (table.c.provider == key.provider) & (table.c.model == key.model)
    await connection.execute(update(table).where(mine).values(values))


async def recent(
    connection: AsyncConnection, *, now: datetime, within: timedelta, limit: int
) -> list[tuple[Key, Budget]]:
    """List the budgets of models that were called lately, as they are `now`, for operators."""
    values = {"now": now, "since": now - within, "limit": limit}
    return [(Key(row.provider, row.model), _budget(row)) for row in await connection.execute(_RECENT, values)]


def _budget(row: Row[tuple[object, ...]]) -> Budget:
    return Budget(
        adapted=Limits(row.requests_per_minute, row.tokens_per_minute),
        requests_free_at=row.requests_free_at,
        tokens_free_at=row.tokens_free_at,
        paused_until=row.paused_until,
        lowered_at=row.lowered_at,
        raised_at=row.raised_at,
        requests_seen=row.requests_seen,
        tokens_seen=row.tokens_seen,
    )


def _or_always(tolerance: timedelta | None) -> timedelta:
    return _ALWAYS if tolerance is None else tolerance
