"""A worker as it is deployed with a bug: splitting a text fails. Its successor has the bug fixed."""

import runpy
from collections.abc import Iterator

from activities import chunking
from domain.chunks import PlannedChunk


def split(*_: object, **__: object) -> Iterator[PlannedChunk]:
    """Fail as code does that was never run."""
    raise ZeroDivisionError


vars(chunking)["split"] = split
runpy.run_path("worker.py", run_name="__main__")
