"""Many files at once: sent as imports, which ingest them in packs, and watched until nothing of them waits."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.progress import Progress, TaskID

from cli.outcome import Outcome
from cli.session import Json, Session

FROM_FILES = 20
"""From so many files on an import is faster than uploads one by one."""

_FILES, _BYTES = 500, 200 << 20  # of one request
_POLL = 0.5  # seconds
_FINAL = frozenset({"complete", "failed", "cancelled"})
_UNREADY = ("needs_attention", "failed", "cancelled")


def ingest_together(session: Session, bot: str, files: Sequence[Path], progress: Progress, *, wait: bool) -> Outcome:
    """Import the files, request by request; with `wait` until every document is ready or says why not."""
    task = progress.add_task("uploading", total=len(files))
    started = []
    for batch in _batches(files):
        started.append(_send(session, bot, batch))
        progress.advance(task, len(batch))
    if wait:
        task = progress.add_task("ingesting", total=None)
        started = _watch(session, started, progress, task)
    outcome = Outcome()
    for each in started:
        outcome += _outcome(session, bot, each)
    return outcome


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for file in files:
        if batch and (len(batch) == _FILES or size + file.stat().st_size > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.stat().st_size
    yield batch


def _send(session: Session, bot: str, batch: Sequence[Path]) -> Json:
    with ExitStack() as opened:
        parts = [("files", (file.name, opened.enter_context(file.open("rb")))) for file in batch]
        return session.post(f"/bots/{bot}/imports", files=parts)


def _watch(session: Session, started: Sequence[Json], progress: Progress, task: TaskID) -> list[Json]:
    while True:
        states = [session.get(f"/imports/{each['id']}") for each in started]
        counts = [state["counts"] for state in states]
        left = sum(count["pending"] + count["processing"] for count in counts)
        total = sum(count["accepted"] for count in counts)
        progress.update(task, total=total or None, completed=total - left)
        if all(state["status"] in _FINAL for state in states):
            return states
        time.sleep(_POLL)


def _outcome(session: Session, bot: str, shown: Json) -> Outcome:
    counts = shown["counts"]
    unready = [
        document
        for status in _UNREADY
        if counts[status]
        for document in session.all(f"/bots/{bot}/documents", import_id=shown["id"], status=status)
    ]
    refused = [
        f"{item['name']}: {item['last_error']['message']} ({item['last_error']['code']})"
        for item in (session.all(f"/imports/{shown['id']}/items", outcome="refused") if counts["refused"] else ())
    ]
    documents = counts["accepted"] + counts["duplicates"]
    ready = counts["ready"] + counts["duplicates"]
    return Outcome(documents=documents, ready=ready, chunks=shown["chunks"], unready=unready, refused=refused)
