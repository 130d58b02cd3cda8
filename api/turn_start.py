"""Starting the run of a message that is stored, beside the request that waits for it."""

import asyncio
from datetime import timedelta

from temporalio.client import Client

from adapters.temporal.runs import start_turn
from api.starting import started
from domain.steps import TurnRef

# The former turn's run closes a moment after its answer is stored; until then its id is taken.
_PATIENCE = timedelta(seconds=2)
_PAUSE = 0.02

_starting: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references only


def start_soon(temporal: Client, ref: TurnRef) -> None:
    """Start the run, again and again for a moment; what cannot be started now, the sweeper starts."""
    task = asyncio.create_task(_start(temporal, ref), name="start-turn")
    _starting.add(task)
    task.add_done_callback(_starting.discard)


async def _start(temporal: Client, ref: TurnRef) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE.total_seconds()
    while loop.time() < deadline:
        if await started(start_turn(temporal, ref)):
            return
        await asyncio.sleep(_PAUSE)
