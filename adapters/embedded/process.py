"""A program that is kept running: started, listened to, started again when it dies, stopped when told."""

import asyncio
import contextlib
import os
import pwd
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from adapters.embedded.console import Log
from adapters.embedded.errors import StackError
from adapters.embedded.state import StateFolder

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_STEADY_SECONDS = 30.0  # one that ran so long had no trouble starting
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Program:
    """What to run and how to end it."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)  # carries secrets
    folder: Path
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0  # seconds from the stop signal to SIGKILL
    before_start: Callable[[], None] = lambda: None


class Child:
    """One program under watch."""

    def __init__(
        self, program: Program, state: StateFolder, log: Log, *, on_death: Callable[["Child"], None] = lambda _: None
    ) -> None:
        self.program = program
        self.deaths = 0
        self._on_death = on_death
        self._pause = _FIRST_PAUSE
        self._output = -1
        self._state = state
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start and keep running. A command that cannot be started at all raises `OSError`."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep_running(), name=self.program.name)

    async def stop(self) -> None:
        """Ask it to end, then make it."""
        self._stopping.set()
        if self._watch is None:
            return
        self._ask_to_end()
        done, _ = await asyncio.wait([self._watch], timeout=self.program.grace)
        if not done:
            self._log.say(f"{self.program.name} did not stop within {self.program.grace:.0f} s; it is killed.")
            self.kill()
        await self._watch

    def kill(self) -> None:
        """End it at once, with all that it started in its process group."""
        self._stopping.set()
        if self._process is not None:
            _kill_group(self._process.pid)

    async def run_once(self) -> int:
        """Run to the end and answer the exit code; nothing is left running where this is cancelled."""
        await self._spawn()
        try:
            return await self._run_until_it_ends()
        finally:
            self.kill()

    async def _keep_running(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            began = now()
            how = _how_it_ended(await self._run_until_it_ends())
            if now() - began > _STEADY_SECONDS:
                self._pause = _FIRST_PAUSE
            await self._start_again(how)

    async def _start_again(self, how: str) -> None:
        """Name what happened and start again after a pause that doubles; returns early when told to stop."""
        while not self._stopping.is_set():
            self.deaths += 1
            self._on_death(self)
            self._log.say(f"{self.program.name} {how}; it is started again in {self._pause:g} s.", style="red")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._pause)
                return
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            try:
                await self._spawn()
            except (OSError, StackError) as error:
                how = f"could not be started: {error}"
                continue
            if self._stopping.is_set():  # told while it was being started
                self._ask_to_end()
                await self._run_until_it_ends()
            return

    def _ask_to_end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.program.stop_signal)

    async def _spawn(self) -> None:
        program = self.program
        await asyncio.to_thread(program.before_start)
        # A pipe of our own: asyncio's would keep `wait` waiting for grandchildren that hold it.
        self._output, write_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *program.command, cwd=program.folder, env=program.environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end, stderr=write_end, start_new_session=True, user=program.user,
                group=pwd.getpwnam(program.user).pw_gid if program.user else None,
                extra_groups=[] if program.user else None,
            )  # fmt: skip
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)
        self._state.started(program.name, self._process.pid, program.stop_signal)

    async def _run_until_it_ends(self) -> int:
        assert self._process is not None  # noqa: S101  (for mypy: a spawn went before)
        reading = asyncio.create_task(self._read(self._output))
        code = await self._process.wait()
        _kill_group(self._process.pid)  # what it may have left behind
        await asyncio.wait([reading], timeout=2)
        reading.cancel()
        self._state.ended(self.program.name)
        return code

    async def _read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        rest = b""
        try:
            while chunk := await reader.read(1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._show(line)
                if len(rest) > _LONGEST_LINE:
                    self._show(rest)
                    rest = b""
            if rest:
                self._show(rest)
        finally:
            transport.close()

    def _show(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._log.line(self.program.name, text)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended by itself with exit code {code}"
