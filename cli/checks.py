"""What `chatsphere doctor` looks at. Each check gives a finding; none changes anything."""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import httpx2
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.clock import now
from adapters.extraction.extractor import SubprocessExtractor
from adapters.models.providers import open_models
from adapters.models.tesseract import installed_languages
from adapters.postgres.engine import open_engine
from adapters.settings import Settings
from adapters.temporal.client import SEARCH_ATTRIBUTES, connect
from domain import runs
from domain.documents import Format
from domain.errors import DomainError
from domain.ports import CompletionRequest, Embedder, ExtractionJob, Generator, TextRecognizer
from domain.steps import Queue

ROOT = Path(__file__).parents[1]
Mark = Literal["ok", "warning", "failed"]

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")
_LITTLE_SPACE = 2 << 30
_LATE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and where it is not well what to do."""

    what: str
    mark: Mark
    detail: str
    advice: str = ""


def python() -> Finding:
    """The interpreter."""
    known = (3, 11) <= sys.version_info[:2] <= (3, 14)
    mark: Mark = "ok" if known else "warning"
    return Finding(
        "Python", mark, sys.version.split()[0], "" if known else "Use Python 3.11 to 3.14: PYTHON=… make install"
    )


def packages() -> Finding:
    """Installed packages against the locks."""
    wrong = []
    for name, pinned in _pins(ROOT / "requirements.txt").items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # for another platform, or another Python
        if installed not in pinned:
            wrong.append(f"{name} {installed} is not {' or '.join(sorted(pinned))}")
    if wrong:
        return Finding("packages", "warning", "; ".join(wrong[:3]), "Run: make install")
    return Finding("packages", "ok", "as locked")


def _pins(lock: Path) -> dict[str, set[str]]:
    """Give the versions a package is locked to: more than one where Pythons differ."""
    pins: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines() if lock.exists() else ():
        if match := _PIN.match(line):
            pins.setdefault(match[1], set()).add(match[2])
    return pins


async def database(settings: Settings) -> AsyncIterator[Finding]:
    """Postgres: there, new enough, with pgvector, safe, and at the schema that this code needs."""
    engine = open_engine(settings.database_url, application="doctor")
    try:
        async with engine.connect() as connection:
            async for finding in _postgres(connection):
                yield finding
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        yield Finding(
            "Postgres", "failed", f"does not answer ({type(error).__name__})",
            "Start it (chatsphere up), or set CHATSPHERE_DATABASE_URL.",
        )  # fmt: skip
    finally:
        await engine.dispose()


async def _postgres(connection: AsyncConnection) -> AsyncIterator[Finding]:
    number = int(await connection.scalar(text("select current_setting('server_version_num')")) or 0)
    new = number >= 160_000
    yield Finding(
        "Postgres",
        "ok" if new else "failed",
        f"version {number // 10_000}",
        "" if new else "Move to Postgres 16 or newer.",
    )
    vector = await connection.scalar(text("select extversion from pg_extension where extname = 'vector'"))
    yield Finding(
        "pgvector", "ok" if vector else "failed", vector or "not installed",
        "" if vector else "Install pgvector 0.7 or newer on the server, then run the migrations.",
    )  # fmt: skip
    for setting in ("fsync", "synchronous_commit"):
        value = await connection.scalar(text(f"select current_setting('{setting}')"))
        if value == "off":
            yield Finding(setting, "failed", "off", "Turn it on: what a 202 promised must outlive the machine.")
    there = await connection.scalar(text("select to_regclass('alembic_version')"))
    found = (
        set((await connection.execute(text("select version_num from alembic_version"))).scalars()) if there else set()
    )
    heads = set(ScriptDirectory.from_config(_alembic()).get_heads())
    yield Finding(
        "migrations", "ok" if found == heads else "failed", ", ".join(sorted(found)) or "none",
        "" if found == heads else "Run: python -m alembic -c migrations/alembic.ini upgrade head",
    )  # fmt: skip


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config


async def temporal(settings: Settings) -> AsyncIterator[Finding]:
    """Temporal: there, search attributes known, workers on every queue, housekeeping alive, Web UI in reach."""
    try:
        async with asyncio.timeout(10):
            client = await connect()
    except (RuntimeError, TimeoutError):
        yield Finding("Temporal", "failed", "does not answer", "Start it (chatsphere up), or set TEMPORAL_ADDRESS.")
        return
    yield Finding("Temporal", "ok", f"namespace {client.namespace}")
    try:
        yield await _search_attributes(client)
        for queue in Queue:
            yield await _pollers(client, queue)
        yield await _housekeeping(client, settings)
    except RPCError as error:
        yield Finding("Temporal", "failed", error.message, "Check the namespace's rights, then run doctor again.")
    yield await _web(settings.temporal_ui_url, "Temporal Web UI")


async def _search_attributes(client: Client) -> Finding:
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in known.custom_attributes]
    if missing:
        return Finding(
            "search attributes", "failed", "missing: " + ", ".join(missing), "Start a worker: it makes them."
        )
    return Finding("search attributes", "ok", ", ".join(key.name for key in SEARCH_ATTRIBUTES))


async def _pollers(client: Client, queue: Queue) -> Finding:
    kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
    )
    workers = len({poller.identity for poller in described.pollers})
    if not workers:
        return Finding(f"queue {queue}", "failed", "no worker", f"Start one: python worker.py --queues {queue}")
    return Finding(f"queue {queue}", "ok", f"{workers} worker{'s' if workers > 1 else ''}")


async def _housekeeping(client: Client, settings: Settings) -> Finding:
    advice = "A worker that starts makes the Schedule; see Schedules → housekeeping in the Web UI."
    try:
        described = await client.get_schedule_handle(runs.HOUSEKEEPING_ID).describe()
    except RPCError:
        return Finding("housekeeping", "failed", "there is no Schedule", advice)
    recent = described.info.recent_actions
    if described.schedule.state.paused:
        return Finding(
            "housekeeping", "warning", "paused", "Unpause the Schedule: nothing is swept or closed until then."
        )
    if not recent:
        return Finding("housekeeping", "warning", "has not run yet", "Wait for its interval, then run doctor again.")
    late = now() - recent[-1].started_at > _LATE + settings.housekeeping_interval
    shown = f"last at {recent[-1].started_at:%H:%M:%S} UTC"
    return Finding("housekeeping", "warning" if late else "ok", shown, advice if late else "")


async def _web(url: str, what: str) -> Finding:
    try:
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
            answer = await http.get(url, follow_redirects=True)
        well = not answer.is_error
    except httpx2.HTTPError:
        well = False
    return Finding(what, "ok" if well else "warning", url, "" if well else "Start it, or set its address right.")


async def api(url: str) -> Finding:
    """The API and what it says of itself."""
    try:
        async with httpx2.AsyncClient(timeout=10, trust_env=False) as http:
            answer = await http.get(f"{url}/readyz")
        checks = answer.json()["checks"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return Finding("API", "failed", f"{url} does not answer", "Start it (chatsphere up), or give --url.")
    away = [name for name, state in checks.items() if state != "ok"]
    advice = "See the findings on these." if away else ""
    return Finding("API", "failed" if away else "ok", f"{url}: {', '.join(away) or 'ready'}", advice)


def storage(settings: Settings) -> Finding:
    """The folder of the blobs: writable, with room."""
    folder = settings.blob_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("blobs", "failed", f"{folder}: {error.strerror}", "Give the service the right to write there.")
    little = free < _LITTLE_SPACE
    advice = "Make room, or set CHATSPHERE_BLOB_DIR." if little else ""
    return Finding("blobs", "warning" if little else "ok", f"{folder}, {free >> 30} GiB free", advice)


async def extraction() -> Finding:
    """A document read in a child process, as a worker does."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "pages"
        source.write_text("ChatSphere reads this in a process of its own.")
        try:
            async with SubprocessExtractor() as extractor:
                await extractor.extract(ExtractionJob(source, target, Format.TEXT), lambda *_: None)
        except (DomainError, OSError) as error:
            return Finding("extraction", "failed", str(error), "Run: make install; then see the worker's log.")
    return Finding("extraction", "ok", "a child process reads")


async def models(settings: Settings) -> AsyncIterator[Finding]:
    """One embedding, as a question takes it; a word of each provider that answers; and what reads scans and images."""
    try:
        async with open_models(settings) as opened:
            yield _recognition(settings, opened.recognizer)
            yield await _embeds(opened.embedder)
            for provider, name in settings.generation_models.items():
                yield await _answers(opened.generator, f"{provider}/{name}")
    except DomainError as error:
        yield Finding("models", "failed", error.code, error.message)


async def _embeds(embedder: Embedder) -> Finding:
    try:
        vector = await embedder.embed_query("Does the provider answer?")
    except DomainError as error:
        return Finding("embeddings", "failed", f"{error.code}, {embedder.model}", error.message)
    return Finding("embeddings", "ok", f"{embedder.model}, width {vector.shape[0]}")


async def _answers(generator: Generator, model: str) -> Finding:
    try:
        await generator.complete(
            CompletionRequest(system="Answer with one word.", content="Are you there?", model=model)
        )
    except DomainError as error:
        return Finding("answers", "failed", f"{error.code}, {model}", error.message)
    return Finding("answers", "ok", model)


def _recognition(settings: Settings, recognizer: TextRecognizer | None) -> Finding:
    """What reads page images here; without it, scans wait for a person as `no_text`."""
    what = "text recognition"
    if settings.ocr == "off":
        return Finding(what, "ok", "off, as CHATSPHERE_OCR says")
    if recognizer is None:
        advice = (
            f"Install Tesseract with the languages {settings.ocr_languages}, or set up Gemini, and restart the workers."
        )
        return Finding(what, "warning", "none: scans and images wait as no_text", advice)
    if recognizer.is_provider:
        return Finding(what, "ok", recognizer.model)
    missing = sorted(set(settings.ocr_languages.split("+")) - installed_languages())
    advice = f"Install Tesseract's languages {', '.join(missing)}." if missing else ""
    return Finding(what, "warning" if missing else "ok", recognizer.model, advice)
