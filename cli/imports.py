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
_POLL_EARLIER = 2.0  # of documents that earlier imports brought: a list of each status
_FINAL = frozenset({"complete", "failed", "cancelled"})
_UNREADY = ("needs_attention", "failed", "cancelled")
_UNDER_WAY = ("pending", "processing")


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
        outcome += _outcome(session, bot, each, wait=wait)
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


def _outcome(session: Session, bot: str, shown: Json, *, wait: bool) -> Outcome:
    counts = shown["counts"]
    unready = [
        document
        for status in _UNREADY
        if counts[status]
        for document in session.all(f"/bots/{bot}/documents", import_id=shown["id"], status=status)
    ]
    twins = _duplicates(session, shown)
    while wait and twins and _those_of(session, bot, twins, _UNDER_WAY):
        time.sleep(_POLL_EARLIER)
    waiting = {document["id"]: document for document in _those_of(session, bot, twins, _UNREADY)} if twins else {}
    known = {document["id"] for document in unready}
    unready += [document for id_, document in waiting.items() if id_ not in known]
    refused = [
        f"{item['name']}: {item['last_error']['message']} ({item['last_error']['code']})"
        for item in (session.all(f"/imports/{shown['id']}/items", outcome="refused") if counts["refused"] else ())
    ]
    documents = counts["accepted"] + counts["duplicates"]
    ready = counts["ready"] + sum(id_ not in waiting for id_ in twins)
    return Outcome(documents=documents, ready=ready, chunks=shown["chunks"], unready=unready, refused=refused)


def _duplicates(session: Session, shown: Json) -> list[str]:
    """Name the documents that files were the same as, once for each such file."""
    if not shown["counts"]["duplicates"]:
        return []
    return [item["document_id"] for item in session.all(f"/imports/{shown['id']}/items", outcome="duplicate")]


def _those_of(session: Session, bot: str, ids: Sequence[str], statuses: Sequence[str]) -> list[Json]:
    wanted = set(ids)
    listed = (session.all(f"/bots/{bot}/documents", status=status) for status in statuses)
    return [document for documents in listed for document in documents if document["id"] in wanted]
