"""Starting of runs after a commit. What cannot be started now, the sweeper starts: the row says `pending`."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from adapters.postgres import documents
from adapters.postgres.engine import transaction
from adapters.temporal.runs import start_ingestion
from adapters.wiring import Adapters, admission_of
from domain.documents import IngestionRef, IngestionStatus

log = structlog.get_logger(__name__)

# Long enough for a busy server, short enough that a server that is away does not hold the request.
_PATIENCE = timedelta(seconds=2)

# A former run that has shown its end still clears away what it stored; until then its id is taken.
_INSISTENCE = timedelta(seconds=5)
_PAUSE = 0.1

_starting: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references only


async def started(start: Awaitable[bool]) -> bool:
    """Tell whether Temporal took it; never fails a request whose effect is committed."""
    return await _attempt(start) is True


async def _attempt(start: Awaitable[bool]) -> bool | None:
    """Give Temporal's answer; None where there is none."""
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            return await start
    except (RPCError, RuntimeError, OSError, TimeoutError) as error:
        # The client raises RuntimeError where it cannot connect.
        log.warning("start_left_to_sweeper", error=type(error).__name__)
        return None


async def start_soon(adapters: Adapters, ref: IngestionRef) -> None:
    """Start an ingestion now or, where a former run is about to end, beside the requests that follow.

    Where as many of its owner's documents as may are being worked on, the one that ends starts it.
    """
    if not await _has_room(adapters, ref):
        return
    if await _attempt(start_ingestion(adapters.temporal, ref)) is not False:
        return
    task = asyncio.create_task(_insist(adapters, ref), name="start-ingestion")
    _starting.add(task)
    task.add_done_callback(_starting.discard)


async def _has_room(adapters: Adapters, ref: IngestionRef) -> bool:
    try:
        return await admission_of(adapters).may_begin(ref)
    except (SQLAlchemyError, OSError, TimeoutError):
        return True  # the run will see


async def _insist(adapters: Adapters, ref: IngestionRef) -> None:
    """Try again for a moment, unless the former run has taken the ingestion over itself."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _INSISTENCE.total_seconds()
    while loop.time() < deadline:
        await asyncio.sleep(_PAUSE)
        if not await _waits(adapters, ref):
            return
        if await _attempt(start_ingestion(adapters.temporal, ref)) is not False:
            return


async def _waits(adapters: Adapters, ref: IngestionRef) -> bool:
    try:
        async with transaction(adapters.engine) as connection:
            status, epoch = await documents.state_of(connection, ref.ingestion_id)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("start_left_to_sweeper", error=type(error).__name__)
        return False
    return (status, epoch) == (IngestionStatus.PENDING, ref.epoch)
