"""Waiting out a database that restarts, where giving up would cost more than waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = structlog.get_logger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0
# Connection failures, too many connections, and a server that starts or stops.
_AWAY = ("08", "53300", "57P")


async def patiently(operation: Callable[[], Awaitable[T]], *, within: timedelta) -> T:
    """Run `operation` again and again while the database does not answer, for `within` at most.

    A connection may break after the commit and before its answer, so the operation must stand a second run.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await operation()
        except (DBAPIError, OSError, PoolTimeout) as error:
            if not is_away(error) or loop.time() + pause > deadline:
                raise
            log.warning("database_away", reason=type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def is_away(error: BaseException) -> bool:
    """Tell a database that does not answer just now from one that refuses what it was asked."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state.startswith(_AWAY)
    return isinstance(error, (OSError, PoolTimeout))
