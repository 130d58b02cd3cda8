"""What all workers together may ask of a model: shares, who goes first, and how the limits follow the provider.

Requests and tokens are metered by GCRA: a time at which the next one may go moves ahead with each
share. A call goes while that time lies less than a tolerance ahead of the clock. Chat's tolerance is
larger than ingestion's, so that ingestion never takes what chat needs next, and neither waits in the
other's line.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

MINUTE = timedelta(minutes=1)
MICROSECONDS = 60_000_000
"""Of a minute."""

# A tenth of a minute's requests may go at once, of which ingestion leaves half. Two is the least:
# one for ingestion, one for chat.
_BURST = 10
_LEAST_BURST = 2

# Tokens are asked for by the batch, tens of thousands at once. Ingestion goes when nothing is owed;
# chat, whose questions are small, as long as no more than this is owed.
_TOKEN_TOLERANCE = timedelta(seconds=30)
_TOKEN_REFILL = 0.9

_LOWERED_BY = 0.7
_LOWER_AGAIN = MINUTE  # a minute's quota is refused for a minute: once is enough
_SAME_BURST = timedelta(seconds=5)  # refusals of calls that were under way together say how many were too many
_RAISE_AFTER = timedelta(seconds=20)
_RAISED_BY = 0.05
_FORGET_AFTER = timedelta(hours=1)

# Fewer requests a minute than this are not why a provider refuses; it is only paused for.
FLOOR_REQUESTS = 6.0
FLOOR_TOKENS = 20_000.0

_FIRST_PAUSE = timedelta(seconds=2)
# A quota that comes back in hours is asked after sooner: somebody may raise it meanwhile.
LONGEST_PAUSE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests and tokens a minute; None is no limit."""

    requests: float | None = None
    tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """One model's budget as all workers see it. `adapted` is what the provider's refusals taught."""

    adapted: Limits = Limits()
    requests_free_at: datetime | None = None
    tokens_free_at: datetime | None = None
    paused_until: datetime | None = None
    lowered_at: datetime | None = None
    raised_at: datetime | None = None
    requests_seen: float = 0.0  # of the last minute, the older the less
    tokens_seen: float = 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one call takes: how far the times move, and how far ahead they may lie before."""

    request_cost: timedelta
    token_cost: timedelta
    request_tolerance: timedelta | None  # None: any number of requests
    token_tolerance: timedelta | None


def limits_of(budget: Budget, configured: Limits) -> Limits:
    """Give what holds: the lower one of what is configured and what was learnt."""
    return Limits(
        _lower(budget.adapted.requests, configured.requests), _lower(budget.adapted.tokens, configured.tokens)
    )


def is_free(budget: Budget, configured: Limits, *, now: datetime) -> bool:
    """Tell whether calls need no share: there is no limit and no pause."""
    return limits_of(budget, configured) == Limits() and (budget.paused_until is None or budget.paused_until <= now)


def share_of(limits: Limits, *, tokens: int, urgent: bool) -> Share:
    """Say what a call of so many tokens takes, and when it may have it."""
    request_cost, request_tolerance = timedelta(0), None
    if limits.requests is not None:
        burst = max(_LEAST_BURST, int(limits.requests / _BURST))
        # The burst is part of the minute: no sixty seconds see more than the limit.
        # Rounded up: a microsecond too little, 28 times, lets one more into the minute.
        request_cost = timedelta(
            microseconds=ceil(MICROSECONDS / max(limits.requests - (burst - 1), limits.requests / 2))
        )
        request_tolerance = request_cost * (burst - 1 if urgent else burst - 1 - burst // 2)
    token_cost, token_tolerance = timedelta(0), None
    if limits.tokens is not None:
        token_cost = MINUTE * (tokens / (limits.tokens * _TOKEN_REFILL))
        token_tolerance = _TOKEN_TOLERANCE if urgent else timedelta(0)
    return Share(request_cost, token_cost, request_tolerance, token_tolerance)


def wait_for(budget: Budget, share: Share, *, now: datetime) -> timedelta:
    """Give the time until the share can be had; zero means at once. Nothing is taken."""
    waits = [
        _ahead(budget.paused_until, now, timedelta(0)),
        _ahead(budget.requests_free_at, now, share.request_tolerance),
        _ahead(budget.tokens_free_at, now, share.token_tolerance),
    ]
    return max(waits)


def refused(budget: Budget, configured: Limits, *, tokens: int, retry_after: timedelta | None, now: datetime) -> Budget:
    """Lower and pause after a refusal (429) of a call of so many tokens.

    Lowered from what was asked in the last minute, once a minute; refusals of the same burst only
    take themselves off that count. The pause is the provider's, else as long as it refuses already.
    """
    seen = replace(
        budget,
        requests_seen=max(budget.requests_seen - 1, 0.0),
        tokens_seen=max(budget.tokens_seen - tokens, 0.0),
    )
    since = None if budget.lowered_at is None else now - budget.lowered_at
    if since is None or since >= _LOWER_AGAIN:
        lowered = replace(seen, adapted=_lowered(seen, limits_of(budget, configured)), lowered_at=now)
    elif since < _SAME_BURST and seen.adapted != Limits():
        lowered = replace(seen, adapted=_corrected(seen))
    else:
        lowered = seen
    return _paused(lowered, configured, max(_FIRST_PAUSE, since or _FIRST_PAUSE), retry_after, now=now)


def raise_is_due(budget: Budget, *, now: datetime) -> bool:
    """Tell whether the limits were quiet long enough to be raised."""
    if budget.adapted == Limits() or budget.lowered_at is None:
        return False
    return now - max(budget.lowered_at, budget.raised_at or budget.lowered_at) >= _RAISE_AFTER


def raised(budget: Budget, configured: Limits, *, now: datetime) -> Budget:
    """Raise the limits by a step, if it is due; what reaches the configured one is forgotten.

    Where nothing is configured, limits are forgotten after an hour without a refusal.
    """
    if not raise_is_due(budget, now=now):
        return budget
    forgiven = budget.lowered_at is not None and now - budget.lowered_at >= _FORGET_AFTER
    adapted = Limits(
        _raised(budget.adapted.requests, configured.requests, 1.0, forgiven=forgiven),
        _raised(budget.adapted.tokens, configured.tokens, 1000.0, forgiven=forgiven),
    )
    return replace(budget, adapted=adapted, raised_at=now)


def _lowered(budget: Budget, limits: Limits) -> Limits:
    if budget.requests_seen < FLOOR_REQUESTS:  # so few were not too many
        return budget.adapted
    return Limits(
        _times(limits.requests, budget.requests_seen, FLOOR_REQUESTS),
        _times(limits.tokens, budget.tokens_seen, FLOOR_TOKENS),
    )


def _times(limit: float | None, seen: float, floor: float) -> float:
    basis = seen if limit is None else min(limit, seen)
    return max(floor, basis * _LOWERED_BY)


def _corrected(budget: Budget) -> Limits:
    return Limits(
        _lower(budget.adapted.requests, max(FLOOR_REQUESTS, budget.requests_seen * _LOWERED_BY)),
        _lower(budget.adapted.tokens, max(FLOOR_TOKENS, budget.tokens_seen * _LOWERED_BY)),
    )


def _paused(
    budget: Budget, configured: Limits, guess: timedelta, retry_after: timedelta | None, *, now: datetime
) -> Budget:
    """Pause everybody, and let ingestion begin again with one call instead of a burst."""
    until = now + min(guess if retry_after is None else retry_after, LONGEST_PAUSE)
    if budget.paused_until is not None:
        until = max(until, budget.paused_until)
    tolerance = share_of(limits_of(budget, configured), tokens=0, urgent=False).request_tolerance
    spent = until + (tolerance or timedelta(0))
    return replace(budget, paused_until=until, requests_free_at=max(budget.requests_free_at or spent, spent))


def _raised(limit: float | None, ceiling: float | None, least: float, *, forgiven: bool) -> float | None:
    if limit is None or (forgiven and ceiling is None):
        return None
    higher = limit + max(least, limit * _RAISED_BY)
    return None if ceiling is not None and higher >= ceiling else higher


def _ahead(free_at: datetime | None, now: datetime, tolerance: timedelta | None) -> timedelta:
    if free_at is None or tolerance is None:
        return timedelta(0)
    return max(free_at - tolerance - now, timedelta(0))


def _lower(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)
