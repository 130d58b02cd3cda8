"""Starting of runs after a commit. What cannot be started now, the sweeper starts: the row says `pending`."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import structlog
from temporalio.service import RPCError

log = structlog.get_logger(__name__)

# Long enough for a busy server, short enough that a server that is away does not hold the request.
_PATIENCE = timedelta(seconds=2)


async def started(start: Awaitable[bool]) -> bool:
    """Tell whether Temporal took it; never fails a request whose effect is committed."""
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            return await start
    except (RPCError, RuntimeError, OSError, TimeoutError) as error:
        # The client raises RuntimeError where it cannot connect.
        log.warning("start_left_to_sweeper", error=type(error).__name__)
        return False
