"""Waiting for a server of another process, which can only be asked."""

import asyncio
from collections.abc import Awaitable, Callable


async def within(seconds: float, answers: Callable[[], Awaitable[bool]], *, every: float = 0.05) -> bool:
    """Ask until it answers; False where it did not in the time given."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await answers():
                    return True
                await asyncio.sleep(every)
    except TimeoutError:
        return False
