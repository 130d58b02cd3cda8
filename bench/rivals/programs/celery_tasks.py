"""Celery: a task a document, two worker processes, Redis where it is installed."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from celery import Celery

from bench.rivals.programs import orm
from bench.rivals.programs.protocol import Outcome, database_url, serve

_BROKER = "RIVAL_BROKER"  # the worker's processes inherit it

app = Celery("rivals", broker=os.environ.get(_BROKER))


@app.task(name="ingest_document")
def ingest_document(document_id: str, path: str, reader: str) -> None:
    """Ingest one document."""
    orm.ingest(UUID(document_id), path, reader)


@contextmanager
def _broker() -> Iterator[str]:
    redis = shutil.which("redis-server")
    if redis is None:
        yield f"sqla+{database_url('psycopg')}"
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [redis, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"], stdout=sys.stderr
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Start broker and worker, and queue what the bench asks for."""
    orm.Base.metadata.create_all(orm.engine())
    with _broker() as broker:
        app.conf.broker_url = broker
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", __spec__.name, "worker", "--concurrency", "2", "--loglevel", "WARNING"],
            env={**os.environ, _BROKER: broker}, stdout=sys.stderr,
        )  # fmt: skip
        try:
            serve(_ingest, note=f"broker: {broker.split(':')[0]}")
        finally:
            worker.terminate()
            worker.wait()


def _ingest(files: list[str], reader: str) -> Outcome:
    ids = []
    for file in files:
        ids.append(orm.accept(file))
        ingest_document.delay(str(ids[-1]), file, reader)
    return orm.outcome(ids)


if __name__ == "__main__":
    main()
