"""Real servers for tests: Postgres, Temporal. Each on a free port, in a folder of its own, gone afterwards."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from temporalio.client import Client

from adapters.embedded import postgres, temporal
from adapters.embedded.ports import is_taken
from adapters.temporal.client import data_converter

ROOT = Path(__file__).parents[1]
# Nothing a test writes must survive the machine.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "64MB",
        "autovacuum": "off", "max_connections": "200", "file_copy_method": "clone"}  # fmt: skip


def _own_ports() -> Iterator[int]:
    """Ports that no other process of this suite gives away, each of them again only after all others.

    All lie below those that the kernel picks from, for connections and for whoever asks for any port: one of
    these may be gone before its server listens, or while a test has stopped it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    ports = range(11_000 + 2_000 * worker, 13_000 + 2_000 * worker)
    first = os.getpid() % len(ports)  # another suite on this machine begins elsewhere
    return itertools.cycle((*ports[first:], *ports[:first]))


_PORTS = _own_ports()


def free_port() -> int:
    """Give a port that nobody listens on, nor is about to."""
    return next(port for port in _PORTS if not is_taken(port))


@dataclass
class PostgresServer:
    """A Postgres of its own, which a test may stop, kill and start again on the same port and data."""

    cluster: postgres.Cluster
    _process: subprocess.Popen[bytes] | None = None
    _count: int = 0

    async def start(self) -> None:
        await asyncio.to_thread(self.cluster.prepare)
        self._process = self._run()
        await postgres.wait_until_ready(self.cluster)

    async def stop(self, how: signal.Signals = postgres.STOP_SIGNAL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await asyncio.to_thread(self._process.wait, 30)
            self._process = None

    async def kill(self) -> None:
        """As a power failure of the process: no shutdown, recovery at the next start."""
        await self.stop(signal.SIGQUIT)

    def _run(self) -> subprocess.Popen[bytes]:
        user = postgres.system_user()
        with (self.cluster.data.parent / "log").open("ab") as log:
            return subprocess.Popen(
                self.cluster.command, user=user, group=user, extra_groups=[] if user else None, cwd=self.cluster.data,
                env=postgres.environment(), start_new_session=True, stderr=log,
            )  # fmt: skip

    def url(self, database: str = "postgres") -> str:
        """For SQLAlchemy."""
        return self.cluster.url(database)

    async def clone(self, template: str) -> str:
        """Name of a fresh copy of a database that nobody is connected to."""
        self._count += 1
        name = f"test_{self._count}"
        await self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return name

    async def drop(self, name: str) -> None:
        await self._administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.cluster.url("postgres", driver="postgresql"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@dataclass
class TemporalServer:
    """A real Temporal server on a file, which a test may stop and start again on the same port and data."""

    server: temporal.DevServer
    log: Path
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self.server.address

    async def start(self) -> None:
        self._process = self._run()
        await temporal.wait_until_serving(self.server)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await asyncio.to_thread(self._process.wait, 30)
            self._process = None

    def _run(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.server.command, start_new_session=True, stdout=log, stderr=log)

    async def client(self) -> Client:
        return await Client.connect(self.address, data_converter=data_converter())


@contextlib.contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Not pytest's own: under root another user must be let in, and pytest takes such a right away again."""
    folder = Path(tempfile.mkdtemp(prefix=f"chatsphere-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def postgres_server(**settings: str) -> AsyncIterator[PostgresServer]:
    """A running server with no databases of ours in it."""
    with scratch_folder("postgres") as folder:
        cluster = postgres.Cluster(folder / "data", free_port(), "test-password", {**FAST, **settings})
        server = PostgresServer(cluster)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@contextlib.asynccontextmanager
async def temporal_server(*, ui: bool = False) -> AsyncIterator[TemporalServer]:
    """A running server; the Web UI only where a test looks at it."""
    with scratch_folder("temporal") as folder:
        ports = temporal.DevServer(free_port(), free_port() if ui else None, folder / "temporal.sqlite")
        server = TemporalServer(ports, folder / "log")
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


async def migrated_template(server: PostgresServer) -> str:
    """Name of a database at the newest migration, to be cloned."""
    name = "template_chatsphere"
    await postgres.ensure_database(server.cluster, name)
    await asyncio.to_thread(migrate, server.url(name))
    return name


def migrate(url: str, revision: str = "head") -> None:
    """Run the migrations as a deployment does: Alembic, in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", revision],
        cwd=ROOT, env={**os.environ, "CHATSPHERE_DATABASE_URL": url}, check=True, capture_output=True,
    )  # fmt: skip
