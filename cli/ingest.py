"""`chatsphere ingest`: files and folders into a bot, with a progress bar until every one is ready or says why not."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.bots import find_bot
from cli.console import fail, out
from cli.imports import FROM_FILES, ingest_together
from cli.outcome import Outcome
from cli.session import Json, Refused, Session, open_session

_AT_ONCE = 4
_POLL = 0.5  # seconds
_FINAL = frozenset({"ready", "needs_attention", "failed", "cancelled"})


def ingest(
    context: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(help="Files and folders; of a folder all files, hidden ones left out.")
    ],
    bot: Annotated[str | None, typer.Option(help="The bot's name or id; a new name makes a bot.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until every document is ready or says why not.")] = True,
) -> None:
    """Ingest files. Run it again after an interruption: what is there already is not stored twice."""
    files = list(_files(paths))
    if not files:
        fail("There is no file to ingest under these paths.", code=2)
    session = open_session(context.obj)
    chosen = find_bot(session, bot, make=True)
    columns = SpinnerColumn(), TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=out, transient=True) as progress:
        if len(files) >= FROM_FILES:
            outcome = ingest_together(session, chosen["id"], files, progress, wait=wait)
        else:
            outcome = _ingest_singly(session, chosen["id"], files, progress, wait=wait)
    if not outcome.show(waited=wait):
        raise typer.Exit(1)


def _ingest_singly(session: Session, bot: str, files: list[Path], progress: Progress, *, wait: bool) -> Outcome:
    documents, refused = _upload(session, bot, files, progress)
    if wait:
        documents = _watch(session, documents, progress)
    return Outcome(
        documents=len(documents),
        ready=sum(each["status"] == "ready" for each in documents),
        chunks=sum(each["chunk_count"] or 0 for each in documents),
        unready=[each for each in documents if each["status"] != "ready"],
        refused=refused,
    )


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            within = (each for each in sorted(path.rglob("*")) if each.is_file())
            yield from (each for each in within if not any(p.startswith(".") for p in each.relative_to(path).parts))
        elif path.is_file():
            yield path
        else:
            fail(f"{path} is not there.", code=2)


def _upload(session: Session, bot: str, files: list[Path], progress: Progress) -> tuple[list[Json], list[str]]:
    """Give the documents, one of each even where two files have the same bytes, and why others were refused."""
    task = progress.add_task("uploading", total=len(files))
    refused: list[str] = []
    lock = threading.Lock()

    def one(file: Path) -> Json | None:
        try:
            with file.open("rb") as content:
                document = session.post(f"/bots/{bot}/documents", files={"file": (file.name, content)})
        except (Refused, OSError) as error:
            with lock:
                refused.append(f"{file}: {error}")
            return None
        finally:
            progress.advance(task)
        return document

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = {document["id"]: document for document in pool.map(one, files) if document}
    return list(found.values()), refused


def _watch(session: Session, documents: list[Json], progress: Progress) -> list[Json]:
    task = progress.add_task("ingesting", total=len(documents))
    done: dict[str, Json] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while True:
            left = [each["id"] for each in documents if each["id"] not in done]
            for state in pool.map(lambda each: session.get(f"/documents/{each}"), left):
                if state["status"] in _FINAL:
                    done[state["id"]] = state
            progress.update(task, completed=len(done))
            if len(done) == len(documents):
                return [done[each["id"]] for each in documents]
            time.sleep(_POLL)
