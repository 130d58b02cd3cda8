"""The state folder: secrets, the lock that one supervisor holds, and the processes it started."""

import contextlib
import fcntl
import json
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from adapters.embedded.errors import StackError
from adapters.embedded.waiting import ends_within, is_alive


class StateInUse(StackError):
    """Another supervisor runs on this folder."""


@dataclass(frozen=True)
class StartedProcess:
    """A process that we started: number and start time together are never used twice."""

    name: str
    pid: int
    created: float
    stop_signal: int

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1
        except psutil.Error:
            return None
        return process if same and is_alive(process) else None


class StateFolder:
    """Everything that `make up` keeps, under one folder that nobody else reads."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._record = self.path / "processes.json"
        self._started: dict[str, StartedProcess] = {}

    def create(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock goes with the process, however it ends. Raises `StateInUse`."""
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StateInUse(
                    f"ChatSphere already runs on {self.path} (process {lock.read().strip() or 'unknown'}). "
                    "Stop it with Ctrl-C, or start a second one with its own CHATSPHERE_STATE_DIR and ports."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def secret(self, name: str) -> str:
        """A random secret of our own, made at the first call and readable by us only."""
        file = self.path / name
        if not file.exists():
            _write_whole(file, secrets.token_urlsafe(32))
        return file.read_text().strip()

    def started(self, name: str, pid: int, stop_signal: int) -> None:
        """Remember a process, so that a later run can stop it should this one be killed."""
        try:
            created = psutil.Process(pid).create_time()
        except psutil.Error:  # it is gone already
            return
        self._started[name] = StartedProcess(name, pid, created, stop_signal)
        self._save()

    def ended(self, name: str) -> None:
        self._started.pop(name, None)
        self._save()

    def stop_leftovers(self, *, grace: float = 15.0) -> list[StartedProcess]:
        """Stop what a killed supervisor left, in reverse order of its start; answers what that was."""
        stopped = []
        for left in reversed(self._recorded()):
            process = left.find()
            if process is None:
                continue
            stopped.append(left)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(left.stop_signal)
                if not ends_within(grace, process):
                    process.send_signal(signal.SIGKILL)
                    ends_within(grace, process)
        self._save()
        return stopped

    def _recorded(self) -> list[StartedProcess]:
        try:
            return [StartedProcess(**entry) for entry in json.loads(self._record.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def _save(self) -> None:
        _write_whole(self._record, json.dumps([asdict(entry) for entry in self._started.values()]))


def _write_whole(file: Path, content: str) -> None:
    """Write beside it and rename: a reader, or a crash, never sees half a file."""
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    fresh.replace(file)
