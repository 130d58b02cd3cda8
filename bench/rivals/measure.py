"""The same files through the bare pipeline, ChatSphere and every rival, in turns, on one database and one double.

Every round gives each contestant the same files, in an order that moves on by one a round; the first round of
each job of single files warms up and is not counted. Rivals keep tables in a database of their own on the same server.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from sqlalchemy import make_url

from bench.corpus import pdf
from bench.ingestion import bare, bulk, durable
from bench.report import Row, median
from bench.rig import Rig
from bench.rivals.process import Outcome, Rival, RivalFailed, rival

PROGRAMS = (
    ("langchain", "LangChain", "langchain"),
    ("llama_index", "LlamaIndex", "data_llama_index"),
    ("haystack", "Haystack", "haystack_documents"),
    ("background_tasks", "BackgroundTasks", "chunks"),
    ("celery_tasks", "Celery", "chunks"),
)
"""Program, name, and the table its chunks are counted in."""
_READERS = ("pypdf", "pypdfium2")
_BARE, _OURS, _BULK = "the bare pipeline", "ChatSphere", "ChatSphere in one bulk import"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who ingests files and says how long it took."""

    name: str
    ingest: Callable[[Sequence[Path]], Awaitable[Outcome]]
    together: bool = False
    """Takes part only where there are many files, and gets files of its own: a text that the owner has is not
    embedded again, and a file that the bot has is no new document."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement: seconds, chunks stored, calls made to the provider."""

    seconds: float
    chunks: int
    calls: int


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of a contestant, or of all whose name begins so; decided on everybody's median seconds."""

    name: str
    words: str
    met: Callable[[Mapping[str, float], str], bool]

    def is_for(self, name: str) -> bool:
        """Tell whether the contestant is meant."""
        return name == self.name or name.startswith(f"{self.name},")


def _of_bare(share: float) -> Target:
    return Target(_OURS, f"≥ {share:.2f}", lambda seconds, name: seconds[_BARE] / seconds[name] >= share)


def _outrun(rival_name: str, times: float, by: str = _OURS) -> Target:
    return Target(rival_name, f"≥ {times:.2f}", lambda seconds, name: seconds[name] / seconds[by] >= times)


def _rate(name: str, wanted: int, documents: int) -> Target:
    return Target(name, f"≥ {wanted} docs/s", lambda seconds, name: documents / seconds[name] >= wanted)


@dataclass(frozen=True, slots=True)
class Job:
    """Files of one kind, and how often they are ingested. The rivals' ratios are to `reference`'s seconds."""

    name: str
    pages: int
    rounds: int
    documents: int = 1
    warm_ups: int = 1
    embed_seconds: float = 0.0
    reference: str = _OURS
    targets: tuple[Target, ...] = ()


def jobs(rounds: int, documents: int) -> list[Job]:
    """List what is ingested, and what is wanted of whom."""
    fewer = math.ceil(rounds / 2)
    added = Target(_OURS, "≤ 45 ms added", lambda seconds, name: seconds[name] - seconds[_BARE] <= 0.045)
    at_once = (_of_bare(0.80), _outrun("LangChain, pypdf", 4.0), _outrun("LangChain, pypdfium2", 2.5))
    many = (
        _rate(_OURS, 25, documents), _rate(_BULK, 60, documents),
        _outrun("BackgroundTasks", 1.0, _BULK), _outrun("Celery", 1.0, _BULK),
    )  # fmt: skip
    return [
        Job("300 pages, embedder at once", 300, rounds, targets=at_once),
        Job("300 pages, embedder 200 ms", 300, fewer, embed_seconds=0.2, targets=(_of_bare(0.90),)),
        Job("one page", 1, rounds * 3, targets=(added,)),
        Job(f"{documents} documents of 4 pages", 4, fewer, documents, warm_ups=0, reference=_BULK, targets=many),
    ]


async def measure(rig: Rig, *, rounds: int = 5, small_documents: int = 200) -> list[Row]:
    """Give a row for each contestant in each job."""
    rows: list[Row] = []
    async with _contestants(rig) as contestants:
        with TemporaryDirectory() as folder:
            for number, job in enumerate(jobs(rounds, small_documents)):
                await rig.pace(embed_seconds=job.embed_seconds)
                taken = await _contest(rig, job, contestants, Path(folder), seed=100_000 * (number + 1))
                rows += rows_of(job, taken)
    return rows


@asynccontextmanager
async def _contestants(rig: Rig) -> AsyncIterator[list[Contestant]]:
    url = await _own_database(rig)
    contestants = [
        Contestant(_BARE, lambda files: _bare(rig, files)),
        Contestant(_OURS, lambda files: _ours(rig, files, durable)),
        Contestant(_BULK, lambda files: _ours(rig, files, bulk), together=True),
    ]
    async with AsyncExitStack() as exits:
        database = await asyncpg.connect(url)
        exits.push_async_callback(database.close)
        for program, name, table in PROGRAMS:
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


async def _ours(rig: Rig, files: Sequence[Path], ingest: Callable[[Rig, Sequence[Path]], Awaitable[float]]) -> Outcome:
    before = await rig.database.fetchval("select count(*) from chunks")
    seconds = await ingest(rig, files)
    return Outcome(seconds, await rig.database.fetchval("select count(*) from chunks") - before)


async def _contest(
    rig: Rig, job: Job, contestants: Sequence[Contestant], folder: Path, *, seed: int
) -> dict[str, list[Taken]]:
    contestants = [contestant for contestant in contestants if job.documents > 1 or not contestant.together]
    taken: dict[str, list[Taken]] = {contestant.name: [] for contestant in contestants}
    for number in range(job.rounds + job.warm_ups):
        files = _files(job, folder, seed=seed + number * job.documents)
        own = _files(job, folder, seed=seed + 50_000 + number * job.documents) if job.documents > 1 else []
        first = number % len(contestants)
        for contestant in [*contestants[first:], *contestants[:first]]:
            before = await _calls(rig)
            outcome = await contestant.ingest(own if contestant.together else files)
            if number >= job.warm_ups:
                taken[contestant.name].append(Taken(outcome.seconds, outcome.chunks, await _calls(rig) - before))
        for file in [*files, *own]:
            file.unlink()
    return taken


async def _calls(rig: Rig) -> int:
    return int((await rig.double.get("/_calls")).json()["calls"].get("embed", 0))


def _files(job: Job, folder: Path, *, seed: int) -> list[Path]:
    files = [folder / f"{number}.pdf" for number in range(seed, seed + job.documents)]
    for number, file in enumerate(files, seed):
        file.write_bytes(pdf(job.pages, seed=number))
    return files


def rows_of(job: Job, taken: dict[str, list[Taken]]) -> list[Row]:
    """Give a row for each contestant, by the medians."""
    seconds = {name: median(one.seconds for one in every) for name, every in taken.items()}
    return [_row(job, name, seconds, every[-1]) for name, every in taken.items()]


def _row(job: Job, name: str, seconds: Mapping[str, float], last: Taken) -> Row:
    value = f"{_measured(job, seconds[name])}; {last.chunks:,} chunks, {last.calls:,} calls"
    against = ratio = ""
    if name in (_OURS, _BULK):
        against = f"bare {_measured(job, seconds[_BARE])}"
        ratio = f"{seconds[_BARE] / seconds[name]:.2f} of its speed"
    elif name != _BARE:
        against = f"{job.reference} {_measured(job, seconds[job.reference])}"
        ratio = f"{seconds[name] / seconds[job.reference]:.2f} of its time"
    target = next((target for target in job.targets if target.is_for(name)), None)
    if target is None:
        return Row(name, value, against, ratio, group=job.name)
    return Row(name, value, against, ratio, target.words, target.met(seconds, name), job.name)


def _measured(job: Job, seconds: float) -> str:
    if job.documents > 1:
        return f"{job.documents / seconds:.1f} docs/s"
    return f"{1000 * seconds:.0f} ms" if seconds < 0.5 else f"{seconds:.2f} s"
