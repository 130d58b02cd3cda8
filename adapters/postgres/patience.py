"""Waiting out a database that restarts or is held up, where giving up would cost more than waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = structlog.get_logger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0
# Connection failures, too many connections, a server that starts or stops; then a transaction that
# was rolled back for another's sake, and a lock that was not had in time.
_PASSING = ("08", "53300", "57P", "40", "55P03")
# The last one is what asyncpg says of a connection that broke in the middle of an operation.
_ERRORS = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def patiently(operation: Callable[[], Awaitable[T]], *, within: timedelta) -> T:
    """Run `operation` again and again while the database cannot take it, for `within` at most.

    A connection may break after the commit and before its answer, so the operation must stand a second run.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await operation()
        except (*_ERRORS, OSError, PoolTimeout) as error:
            if not _passes(error) or loop.time() + pause > deadline:
                raise
            log.warning("database_away", reason=type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _passes(error: BaseException) -> bool:
    """Tell a database that cannot just now from one that refuses what it was asked."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state.startswith(_PASSING)
    if isinstance(error, asyncpg.PostgresError):  # of a COPY, which goes past SQLAlchemy
        return (error.sqlstate or "").startswith(_PASSING)
    if isinstance(error, asyncpg.InterfaceError):  # so does a value of the wrong type
        return not isinstance(error, ValueError)
    return isinstance(error, (asyncpg.InternalClientError, OSError, PoolTimeout))
