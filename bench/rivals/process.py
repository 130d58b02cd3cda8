"""A rival as a process of its own, on the virtual environment of the rivals."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.servers import ROOT

PYTHON = ROOT / ".venv-rivals" / "bin" / "python"
_START_SECONDS, _COMMAND_SECONDS = 120, 900


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds by the rival's own account (or the database's clock), and the chunks it stored."""

    seconds: float
    chunks: int


class RivalFailed(Exception):
    """A rival ended or did not answer."""


class Rival:
    """A running program of `bench/rivals/programs`: one command at a time."""

    def __init__(self, program: str, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self.note = ""
        self._program = program
        self._process = process
        self._log = log

    async def started(self) -> None:
        """Wait until it has imported its library and made its tables."""
        self.note = str((await self._answer(_START_SECONDS))["note"])

    async def ingest(self, files: Sequence[Path], reader: str) -> Outcome:
        """Have it read, split, embed and store these files."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"files": [*map(str, files)], "reader": reader}).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._answer(_COMMAND_SECONDS)
        return Outcome(float(answer["seconds"]), int(answer["chunks"]))

    async def _answer(self, seconds: float) -> dict[str, float | str]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace")[-3000:]
            raise RivalFailed(f"{self._program} did not answer. What it said:\n{said}")
        answer: dict[str, float | str] = json.loads(line)
        return answer

    async def close(self) -> None:
        """End it by the end of its input, then whatever it left in its process group."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


@contextlib.asynccontextmanager
async def rival(program: str, *, database_url: str, models_url: str) -> AsyncIterator[Rival]:
    """Start a program and give it when it can take commands. All clients of google-genai find the double."""
    if not PYTHON.exists():
        raise RivalFailed("The rivals are not installed. Run: make bench-rivals")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | {
        "RIVAL_DATABASE_URL": database_url,
        "GOOGLE_API_KEY": "bench",
        "GOOGLE_GEMINI_BASE_URL": models_url,
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-P", Path(__file__).with_name("start.py"), program, cwd=ROOT, env=environment, start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
        running = Rival(program, process, log)
        try:
            await running.started()
            yield running
        finally:
            await running.close()
