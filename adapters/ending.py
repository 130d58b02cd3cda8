"""How a process that has talked to Temporal ends."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import NoReturn


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


def run_process(main: Coroutine[object, object, None]) -> NoReturn:
    """Run until `main` is done, and end with 0; what it raises ends the process as usual, with its traceback."""
    asyncio.run(main)
    end_process(0)
