"""A deployment as separate processes: Postgres, Temporal, workers and API servers, to be killed one by one."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from sqlalchemy import delete
from temporalio.client import Client

from adapters.postgres.engine import open_engine
from adapters.postgres.tables import provider_budgets
from tests import servers
from tests.gemini_double import GeminiDouble, running_double
from tests.servers import ROOT, PostgresServer, TemporalServer, free_port, scratch_folder

_OURS = ("CHATSPHERE_", "TEMPORAL_", "OTEL_")


class Process:
    """A program of ours, what it prints, and how it ends."""

    def __init__(self, arguments: list[str], settings: dict[str, str]) -> None:
        self._arguments = arguments
        self._settings = settings
        self.lines: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    async def start(self, *ready: str, seconds: float = 60) -> None:
        """Start, and wait for a line that holds all of `ready`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, cwd=ROOT, env={**inherited, **self._settings},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True, limit=1 << 20,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        async with asyncio.timeout(seconds), self._news:
            while not any(all(word in line for word in ready) for line in self.lines):
                assert not self._reading.done(), "\n".join(self.lines)
                await self._news.wait()

    async def kill(self) -> None:
        """As the kernel does when memory is short: no time for anything."""
        await self._end(signal.SIGKILL)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """As an orchestrator does; answers the exit code."""
        return await self._end(how)

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        code = await asyncio.wait_for(self._process.wait(), 30)
        assert self._reading is not None
        await self._reading
        return code

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _read(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None
        async for line in output:
            async with self._news:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


class Worker(Process):
    """`python worker.py`."""

    def __init__(self, settings: dict[str, str]) -> None:
        super().__init__(["worker.py"], settings)

    async def ready(self) -> None:
        await self.start("worker_ready")


class Api(Process):
    """`uvicorn api.main:create_app`."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.port = free_port()
        super().__init__(
            ["-m", "uvicorn", "--factory", "api.main:create_app", "--host", "127.0.0.1", "--port", str(self.port)],
            settings,
        )

    async def ready(self) -> None:
        await self.start("Uvicorn running on")

    def client(self) -> httpx2.AsyncClient:
        base = f"http://127.0.0.1:{self.port}/api/v1"
        return httpx2.AsyncClient(base_url=base, timeout=60, trust_env=False)


@dataclass
class Deployment:
    """Servers that run, and the settings that lead there. Processes that are started here end with it."""

    folder: Path
    postgres: PostgresServer
    temporal: TemporalServer
    double: GeminiDouble
    database_url: str
    settings: dict[str, str]
    _processes: list[Process] = field(default_factory=list)

    async def worker(self) -> Worker:
        worker = Worker(self.settings)
        self._processes.append(worker)
        await worker.ready()
        return worker

    async def api(self) -> Api:
        api = Api(self.settings)
        self._processes.append(api)
        await api.ready()
        return api

    async def a_worker(self) -> Worker:
        """One that runs, started where there is none."""
        return next((p for p in self._processes if isinstance(p, Worker) and p.runs), None) or await self.worker()

    async def an_api(self) -> Api:
        """One that runs, started where there is none."""
        return next((p for p in self._processes if isinstance(p, Api) and p.runs), None) or await self.api()

    async def client(self) -> Client:
        return await self.temporal.client()

    async def forget_refusals(self) -> None:
        """Let no budget know what the provider did to other tests."""
        engine = open_engine(self.database_url, pool_size=1)
        async with engine.begin() as connection:
            await connection.execute(delete(provider_budgets))
        await engine.dispose()

    async def close(self) -> None:
        running = [process for process in self._processes if process.runs]
        await asyncio.gather(*(process.stop() for process in running))


@contextlib.asynccontextmanager
async def deployment(*, provider: str = "gemini", ui: bool = False, **settings: str) -> AsyncIterator[Deployment]:
    """A migrated database, a Temporal server, the stand-in for Gemini, a worker and an API process."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(scratch_folder("deployment"))
        double = await stack.enter_async_context(running_double())
        double.keep_requests = False
        # What was committed must outlive a Postgres that is killed, as it does in a deployment.
        postgres = await stack.enter_async_context(servers.postgres_server(synchronous_commit="on"))
        temporal = await stack.enter_async_context(servers.temporal_server(ui=ui))
        database = postgres.url(await servers.migrated_template(postgres))
        ours = {
            "DATABASE_URL": database,
            "BLOB_DIR": str(folder / "blobs"),
            "PROVIDER": provider,
            "GEMINI_API_KEY": "test-key",
            "GEMINI_BASE_URL": double.url,
            "HOUSEKEEPING_INTERVAL": "PT1S",
            "HOUSEKEEPING_GRACE": "PT2S",
            "GRACEFUL_SHUTDOWN": "PT1S",
            **settings,
        }
        environment = {f"CHATSPHERE_{name}": value for name, value in ours.items()}
        environment["TEMPORAL_ADDRESS"] = temporal.address
        deployed = Deployment(folder, postgres, temporal, double, database, environment)
        stack.push_async_callback(deployed.close)
        await asyncio.gather(deployed.worker(), deployed.api())
        yield deployed
