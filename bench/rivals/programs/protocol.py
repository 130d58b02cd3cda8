"""How a rival's process is told what to ingest: a line of JSON in, a line of JSON out.

In: `{"files": [path, …], "reader": "pypdf" or "pypdfium2"}`. Out, once: `{"note": …}` when all is started;
then for each command `{"seconds": …, "chunks": …}`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

MODEL = "gemini-embedding-001"
WIDTH = 768
BATCH = 100
"""Texts a call, the most that batchEmbedContents takes; ChatSphere sends as many."""
CHUNK_CHARACTERS, OVERLAP_CHARACTERS = 1000, 150
"""ChatSphere's own. Where a splitter counts in words or tokens, its program comes as near as it can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one command took, and the rows it left."""

    seconds: float
    chunks: int


def database_url(driver: str) -> str:
    """Give the address of the rivals' database for a SQLAlchemy driver, or for libpq with an empty one."""
    url = os.environ["RIVAL_DATABASE_URL"]
    return url.replace("postgresql://", f"postgresql+{driver}://", 1) if driver else url


def timed(ingest: Callable[[list[str], str], int]) -> Callable[[list[str], str], Outcome]:
    """Measure a call that gives the number of chunks it stored."""

    def run(files: list[str], reader: str) -> Outcome:
        started = time.perf_counter()
        chunks = ingest(files, reader)
        return Outcome(time.perf_counter() - started, chunks)

    return run


def serve(ingest: Callable[[list[str], str], Outcome], *, note: str = "") -> None:
    """Answer commands until stdin ends. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"note": note}), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(asdict(ingest(command["files"], command["reader"]))), file=answers)
