"""The worker's side of the zygote: starts it, gives it documents, hears how they end."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.extraction.messages import LOST, NO_TEXT_IN_FILE
from adapters.extraction.order import Order
from domain.errors import ExtractionCrashed, NoText

_ROOT = Path(__file__).resolve().parents[2]
# Keys and passwords of the worker are not the readers' business.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH")
_DEATH_SECONDS = 5.0  # a killed process is gone in milliseconds


@dataclass(slots=True)
class Outcome:
    """How a child ended: with `done`, `error` or `broke` told by itself, or by a signal."""

    done: tuple[int, int, str | None] | None = None
    without_text: list[int] = field(default_factory=list)
    error: tuple[str, str] | None = None
    broke: str | None = None
    signal: int = 0
    peak_bytes: int = 0
    cpu_seconds: float = 0.0
    timed_out: bool = False
    lost: bool = False
    parts: dict[int, tuple[int, int, str | None] | tuple[str, str]] = field(default_factory=dict)  # read together


@dataclass(slots=True)
class _Job:
    progress: Callable[[int, int | None], None]
    ended: asyncio.Future[None]
    outcome: Outcome = field(default_factory=Outcome)


class Nursery:
    """One zygote at a time, replaced when it dies."""

    def __init__(self) -> None:
        self._zygote: _Zygote | None = None
        self._starting = asyncio.Lock()

    async def run(self, order: Order, progress: Callable[[int, int | None], None]) -> Outcome:
        """Run one document to its end. Cancelling kills the child and awaits its death."""
        zygote = await self._living()
        return await zygote.run(order, progress)

    async def aclose(self) -> None:
        """End the zygote; it kills its children."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            await zygote.aclose()

    async def _living(self) -> "_Zygote":
        async with self._starting:
            if self._zygote is None or not self._zygote.alive:
                self._zygote = await _Zygote.start()
            return self._zygote


class _Zygote:
    def __init__(
        self, process: asyncio.subprocess.Process, commands: asyncio.StreamWriter, events: asyncio.StreamReader
    ) -> None:
        self._process = process
        self._commands = commands
        self._events = events
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count(1)
        self._listening = asyncio.create_task(self._listen())
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls) -> "_Zygote":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "adapters.extraction.zygote",
            cwd=_ROOT,
            env={name: value for name in _ENVIRONMENT if (value := os.environ.get(name))},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the worker, which ends this one in order
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("pipes were asked for")
        return cls(process, process.stdin, process.stdout)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._watching.done()

    async def run(self, order: Order, progress: Callable[[int, int | None], None]) -> Outcome:
        number = next(self._numbers)
        job = _Job(progress, asyncio.get_running_loop().create_future())
        self._jobs[number] = job
        try:
            await self._say({"run": {**order, "job": number}})
            async with asyncio.timeout(order["wall_seconds"]):
                await asyncio.shield(job.ended)
        except TimeoutError:
            await self._put_down(number, job)
            job.outcome.timed_out = True
        except asyncio.CancelledError:
            await self._put_down(number, job)
            raise
        finally:
            self._jobs.pop(number, None)
        return job.outcome

    async def _put_down(self, number: int, job: _Job) -> None:
        """Kill the child and stay until it is dead, whoever cancels meanwhile."""
        death = asyncio.create_task(self._kill(number, job))
        while not death.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(death)

    async def _kill(self, number: int, job: _Job) -> None:
        await self._say({"kill": number})
        _, alive = await asyncio.wait({job.ended}, timeout=_DEATH_SECONDS)
        if alive:  # a zygote that does not answer is replaced; its children die with it
            self._process.kill()
            await self._process.wait()

    async def _say(self, command: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):  # `_watch` tells the jobs
            self._commands.write(json.dumps(command).encode() + b"\n")
            await self._commands.drain()

    async def _listen(self) -> None:
        while line := await self._events.readline():
            event = json.loads(line)
            job = self._jobs.get(event.get("job", 0))
            if job is not None:
                _hear(event, job)

    async def _watch(self) -> None:
        """Fail the jobs of a zygote that died; what it said before is heard first."""
        await self._process.wait()
        await asyncio.wait({self._listening}, timeout=_DEATH_SECONDS)
        for job in self._jobs.values():
            if not job.ended.done():
                job.outcome.lost = True
                job.ended.set_result(None)

    async def aclose(self) -> None:
        self._commands.close()
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._watching
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)


def _hear(event: dict[str, Any], job: _Job) -> None:
    outcome = job.outcome
    if "part" in event:
        _hear_part(event, outcome)
        return
    match event:
        case {"progress": [int(done), total]}:
            # In a call of its own, so that its failure is not the listener's.
            job.ended.get_loop().call_soon(job.progress, done, total)
        case {"exit": {"signal": int(number), "peak_bytes": int(peak), "cpu_seconds": float(cpu)}}:
            outcome.signal, outcome.peak_bytes, outcome.cpu_seconds = number, peak, cpu
            if not job.ended.done():
                job.ended.set_result(None)
        case _:
            _hear_result(event, outcome)


def _hear_result(event: dict[str, Any], outcome: Outcome) -> None:
    match event:
        case {"without_text": [*pages]}:
            outcome.without_text.extend(map(int, pages))
        case {"done": {"pages": int(pages), "characters": int(characters), "encoding": encoding}}:
            outcome.done = (pages, characters, encoding)
        case {"error": {"code": str(code), "message": str(message)}}:
            outcome.error = (code, message)
        case {"broke": str(name)}:
            outcome.broke = name
        case _:
            pass


def _hear_part(event: dict[str, Any], outcome: Outcome) -> None:
    """The first that is told of a part stands: pages without text are for a run that has them recognised."""
    match event:
        case {"part": int(part), "without_text": _}:
            outcome.parts.setdefault(part, (NoText.code, NO_TEXT_IN_FILE))
        case {"part": int(part), "done": {"pages": int(pages), "characters": int(characters), "encoding": encoding}}:
            outcome.parts.setdefault(part, (pages, characters, encoding))
        case {"part": int(part), "error": {"code": str(code), "message": str(message)}}:
            outcome.parts.setdefault(part, (code, message))
        case {"part": int(part)}:
            outcome.parts.setdefault(part, (ExtractionCrashed.code, LOST))
        case _:
            pass
