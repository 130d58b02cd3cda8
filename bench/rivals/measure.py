"""The same files through the bare pipeline, ChatSphere and every rival, in turns, on one database and one double.

Every round gives each contestant the same files, in an order that moves on by one a round; the first round of
each job warms up and is not counted. Rivals keep tables in a database of their own on the same server.
"""

import math
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
from bench.rivals.process import Outcome, Rival, RivalFailed, rival

_PROGRAMS = (
    ("langchain", "LangChain", "langchain"),
    ("llama_index", "LlamaIndex", "data_llama_index"),
    ("haystack", "Haystack", "haystack_documents"),
    ("background_tasks", "BackgroundTasks", "chunks"),
    ("celery_tasks", "Celery", "chunks"),
)
"""Program, name, and the table its chunks are counted in."""
_READERS = ("pypdf", "pypdfium2")
_BARE, _OURS = "the bare pipeline", "ChatSphere"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who ingests files and says how long it took."""

    name: str
    ingest: Callable[[Sequence[Path]], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement: seconds, chunks stored, calls made to the provider."""

    seconds: float
    chunks: int
    calls: int


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
                taken = await _contest(rig, job, contestants, Path(folder), seed=100_000 * (number + 1))
                rows += _rows(job, taken)
    return rows


@asynccontextmanager
async def _contestants(rig: Rig) -> AsyncIterator[list[Contestant]]:
    url = await _own_database(rig)
    contestants = [
        Contestant(_BARE, lambda files: _bare(rig, files)),
        Contestant(_OURS, lambda files: _ours(rig, files)),
    ]
    async with AsyncExitStack() as exits:
        database = await asyncpg.connect(url)
        exits.push_async_callback(database.close)
        for program, name, table in _PROGRAMS:
            running = await exits.enter_async_context(
                rival(program, database_url=url, models_url=str(rig.double.base_url).rstrip("/"))
            )
            contestants += [_contestant(name, running, reader, database, table) for reader in _READERS]
        yield contestants


def _contestant(name: str, running: Rival, reader: str, database: asyncpg.Connection, table: str) -> Contestant:
    async def ingest(files: Sequence[Path]) -> Outcome:
        before = await _rows_of(database, table)
        outcome = await running.ingest(files, reader)
        stored = await _rows_of(database, table) - before
        if stored != outcome.chunks or stored == 0:
            raise RivalFailed(f"{name} says {outcome.chunks} chunks and stored {stored}")
        return outcome

    return Contestant(f"{name}, {reader}" + (f" ({running.note})" if running.note else ""), ingest)


async def _rows_of(database: asyncpg.Connection, table: str) -> int:
    if await database.fetchval("select to_regclass($1)", table) is None:
        return 0  # some make their table when they first write
    return int(await database.fetchval(f"select count(*) from {table}"))  # noqa: S608  (a name of ours)


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
    taken = [await bare(rig, file) for file in files]
    return Outcome(sum(seconds for seconds, _ in taken), sum(chunks for _, chunks in taken))


async def _ours(rig: Rig, files: Sequence[Path]) -> Outcome:
    before = await rig.database.fetchval("select count(*) from chunks")
    seconds = await durable(rig, files)
    return Outcome(seconds, await rig.database.fetchval("select count(*) from chunks") - before)


async def _contest(
    rig: Rig, job: Job, contestants: Sequence[Contestant], folder: Path, *, seed: int
) -> dict[str, list[Taken]]:
    taken: dict[str, list[Taken]] = {contestant.name: [] for contestant in contestants}
    for number in range(job.rounds + 1):
        files = _files(job, folder, seed=seed + number * job.documents)
        first = number % len(contestants)
        for contestant in [*contestants[first:], *contestants[:first]]:
            before = await _calls(rig)
            outcome = await contestant.ingest(files)
            if number > 0:
                taken[contestant.name].append(Taken(outcome.seconds, outcome.chunks, await _calls(rig) - before))
        for file in files:
            file.unlink()
    return taken


async def _calls(rig: Rig) -> int:
    return int((await rig.double.get("/_calls")).json()["calls"].get("embed", 0))


def _files(job: Job, folder: Path, *, seed: int) -> list[Path]:
    files = [folder / f"{number}.pdf" for number in range(seed, seed + job.documents)]
    for number, file in enumerate(files, seed):
        file.write_bytes(pdf(job.pages, seed=number))
    return files


def _rows(job: Job, taken: dict[str, list[Taken]]) -> list[Row]:
    seconds = {name: median(one.seconds for one in every) for name, every in taken.items()}
    return [_row(job, name, seconds[name], seconds[_OURS], every[-1]) for name, every in taken.items()]


def _row(job: Job, name: str, seconds: float, ours: float, last: Taken) -> Row:
    value = f"{_measured(job, seconds)}; {last.chunks:,} chunks, {last.calls:,} calls"
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
