"""Waiting for other processes, which can only be asked."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil


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


def is_alive(process: psutil.Process) -> bool:
    """False for a zombie too: where nobody collects orphans, one stays for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def ends_within(seconds: float, process: psutil.Process) -> bool:
    """Wait, blocking, until it has ended; False where it did not in the time given."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
