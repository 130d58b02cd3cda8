"""The same files through the bare pipeline, ChatSphere and every rival, in turns, on one database and one double.

Every round gives each contestant the same files, in an order that moves on by one a round; the first round of
each job warms up and is not counted. Rivals keep tables in a database of their own on the same server.
"""

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from sqlalchemy import make_url

from bench.corpus import pdf
from bench.ingestion import bare, durable
from bench.report import Row, median
from bench.rig import Rig
from bench.rivals.process import Outcome, Rival, rival

_PROGRAMS = {
    "langchain": "LangChain",
    "llama_index": "LlamaIndex",
    "haystack": "Haystack",
    "background_tasks": "BackgroundTasks",
    "celery_tasks": "Celery",
}
_READERS = ("pypdf", "pypdfium2")
_BARE, _OURS = "the bare pipeline", "ChatSphere"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who ingests files and says how long it took."""

    name: str
    ingest: Callable[[Sequence[Path]], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Job:
    """Files of one kind, and how often they are ingested; `beat` is how many times faster we mean to be."""

    name: str
    pages: int
    rounds: int
    documents: int = 1
    embed_seconds: float = 0.0
    beat: tuple[tuple[str, float], ...] = ()


def _jobs(*, quick: bool) -> list[Job]:
    rounds, documents = (1, 20) if quick else (5, 200)
    beat = (("LangChain, pypdf", 4.0), ("LangChain, pypdfium2", 2.5))
    return [
        Job("300 pages, embedder at once", 300, rounds, beat=beat),
        Job("300 pages, embedder 200 ms", 300, math.ceil(rounds / 2), embed_seconds=0.2),
        Job("one page", 1, rounds * 3),
        Job(f"{documents} documents of 4 pages", 4, math.ceil(rounds / 2), documents=documents),
    ]


async def measure(rig: Rig, *, quick: bool = False) -> list[Row]:
    """Give a row for each contestant in each job."""
    rows: list[Row] = []
    async with _contestants(rig) as contestants:
        with TemporaryDirectory() as folder:
            for number, job in enumerate(_jobs(quick=quick)):
                await rig.pace(embed_seconds=job.embed_seconds)
                outcomes = await _contest(job, contestants, Path(folder), seed=100_000 * (number + 1))
                rows += _rows(job, outcomes)
    return rows


@asynccontextmanager
async def _contestants(rig: Rig) -> AsyncIterator[list[Contestant]]:
    url = await _own_database(rig)
    contestants = [
        Contestant(_BARE, lambda files: _bare(rig, files)),
        Contestant(_OURS, lambda files: _ours(rig, files)),
    ]
    async with AsyncExitStack() as exits:
        for program, name in _PROGRAMS.items():
            running = await exits.enter_async_context(
                rival(program, database_url=url, models_url=str(rig.double.base_url).rstrip("/"))
            )
            contestants += [_contestant(name, running, reader) for reader in _READERS]
        yield contestants


def _contestant(name: str, running: Rival, reader: str) -> Contestant:
    note = f" ({running.note})" if running.note else ""
    return Contestant(f"{name}, {reader}{note}", lambda files: running.ingest(files, reader))


async def _own_database(rig: Rig) -> str:
    url = make_url(rig.settings.database_url).set(drivername="postgresql", database="rivals")
    await rig.database.execute("create database rivals")
    address = url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(address)
    try:
        await connection.execute("create extension vector")
    finally:
        await connection.close()
    return address


async def _bare(rig: Rig, files: Sequence[Path]) -> Outcome:
    return Outcome(sum([await bare(rig, file) for file in files]), 0)


async def _ours(rig: Rig, files: Sequence[Path]) -> Outcome:
    before = await rig.database.fetchval("select count(*) from chunks")
    seconds = await durable(rig, files)
    return Outcome(seconds, await rig.database.fetchval("select count(*) from chunks") - before)


async def _contest(job: Job, contestants: Sequence[Contestant], folder: Path, *, seed: int) -> dict[str, list[Outcome]]:
    outcomes = defaultdict(list)
    for number in range(job.rounds + 1):
        files = _files(job, folder, seed=seed + number * job.documents)
        first = number % len(contestants)
        for contestant in [*contestants[first:], *contestants[:first]]:
            outcome = await contestant.ingest(files)
            if number > 0:
                outcomes[contestant.name].append(outcome)
        for file in files:
            file.unlink()
    return {contestant.name: outcomes[contestant.name] for contestant in contestants}


def _files(job: Job, folder: Path, *, seed: int) -> list[Path]:
    files = [folder / f"{number}.pdf" for number in range(seed, seed + job.documents)]
    for number, file in enumerate(files, seed):
        file.write_bytes(pdf(job.pages, seed=number))
    return files


def _rows(job: Job, outcomes: dict[str, list[Outcome]]) -> list[Row]:
    seconds = {name: median(outcome.seconds for outcome in taken) for name, taken in outcomes.items()}
    return [_row(job, name, took, seconds[_OURS], outcomes[name][-1].chunks) for name, took in seconds.items()]


def _row(job: Job, name: str, seconds: float, ours: float, chunks: int) -> Row:
    value = _measured(job, seconds) + (f", {chunks:,} chunks" if chunks else "")
    if name == _OURS:
        return Row(name, value, group=job.name)
    against, ratio, target = f"{_OURS} {_measured(job, ours)}", seconds / ours, dict(job.beat).get(name)
    if target is None:
        return Row(name, value, against, f"{ratio:.2f} of its time", group=job.name)
    return Row(name, value, against, f"{ratio:.2f} of its time", f"≥ {target:.1f}", ratio >= target, job.name)


def _measured(job: Job, seconds: float) -> str:
    if job.documents > 1:
        return f"{job.documents / seconds:.1f} docs/s"
    return f"{1000 * seconds:.0f} ms" if seconds < 0.5 else f"{seconds:.2f} s"
