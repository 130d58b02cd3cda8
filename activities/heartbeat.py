"""Heartbeats beside the work: a step lives while its process does, and hears of a cancellation soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity

_PAUSE = 0.5  # as often as the worker passes one on


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeat until the block is left, also while it waits for somebody else."""
    beating = asyncio.create_task(_beat(), name="heartbeat")
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def _beat() -> None:
    while True:
        # The server knows that a step has just begun: one that is short need not tell.
        await asyncio.sleep(_PAUSE)
        activity.heartbeat()
