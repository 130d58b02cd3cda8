"""How a process that talks to Temporal runs, and how it ends."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from datetime import timedelta
from typing import NoReturn

import structlog
import uvloop

log = structlog.get_logger(__name__)

_TO_PUT_AWAY = timedelta(seconds=5)  # for steps that are cancelled when the grace is over


def end_process(code: int) -> NoReturn:
    """End with this exit code, everything being closed: write out what is buffered, and leave out the finalisation.

    The SDK's own threads may still call into an interpreter that is going down, and on Python 3.11 that aborts
    the process (`PyGILState_Release`): work that is done would end as exit code -6.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            code = code or 1
    os._exit(code)


def told_to_stop(grace: timedelta) -> asyncio.Event:
    """Give an event that SIGINT and SIGTERM set.

    Soon after the grace the process ends, whatever still runs: the SDK waits for a local step as long as that is
    tried again, for instance while a lock in the database holds it up. Then all is as after a crash.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        stop.set()
        loop.call_later((grace + _TO_PUT_AWAY).total_seconds(), _cut_short)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    return stop


def _cut_short() -> NoReturn:
    log.warning("shutdown_cut_short")
    end_process(0)


def run_process(main: Coroutine[object, object, None]) -> NoReturn:
    """Run until `main` is done, and end with 0; what it raises ends the process as usual, with its traceback.

    On the event loop that uvicorn gives the API: a turn takes 6 % less of a worker's processor time.
    """
    uvloop.run(main)
    end_process(0)
