"""The whole of `make up` as a process of its own, on free ports and a folder of its own."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil

from tests.servers import ROOT, free_port, scratch_folder

PORTS = ("POSTGRES_PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT", "API_PORT")


class Stack:
    """A supervisor that runs, what it prints, and what it started."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        ours = {f"CHATSPHERE_{name}": str(free_port()) for name in PORTS}
        ours["CHATSPHERE_STATE_DIR"] = str(folder)
        self.settings = {**ours, **{f"CHATSPHERE_{name}": value for name, value in settings.items()}}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['CHATSPHERE_API_PORT']}"

    def client(self) -> httpx2.AsyncClient:
        # As many connections as are asked for: by default the hundred-and-first request waits for another's end.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        return httpx2.AsyncClient(base_url=self.url, timeout=30, trust_env=False, limits=limits)

    async def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHATSPHERE_")}
        self.lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "adapters.embedded", cwd=ROOT, env={**inherited, **self.settings},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True, limit=1 << 22,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None
        async for line in output:
            async with self._news:
                self.lines.append(line.decode().rstrip())
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    def hang_up(self) -> None:
        """Read nothing any more, as `tee` does that a Ctrl-C has ended."""
        assert self._process is not None
        assert self._reading is not None
        self._reading.cancel()
        output = self._process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]  # there is no other way
        output.close()

    async def sees(self, *words: str, after: int = 0, seconds: float = 90) -> int:
        """Wait for a line with all the words; answers the number of lines up to it."""
        async with asyncio.timeout(seconds), self._news:
            while True:
                for number, line in enumerate(self.lines[after:], after + 1):
                    if all(word in line for word in words):
                        return number
                assert self._reading is not None
                assert not self._reading.done(), "\n".join(self.lines)
                await self._news.wait()

    async def ready(self) -> None:
        await self.sees("ChatSphere is ready")

    def started(self) -> dict[str, psutil.Process]:
        """The processes that run under the supervisor, by name."""
        recorded = json.loads((self.folder / "processes.json").read_text())
        return {entry["name"]: psutil.Process(entry["pid"]) for entry in recorded}

    async def send(self, number: signal.Signals) -> int:
        """Signal the supervisor alone and answer its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return await self.ends()

    async def ends(self, seconds: float = 60) -> int:
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), seconds)

    async def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self.ends()
        if self._reading is not None:
            self._reading.cancel()


@contextlib.asynccontextmanager
async def stack(**settings: str) -> AsyncIterator[Stack]:
    """A supervisor that is not started yet; stopped at the end."""
    with scratch_folder("stack") as folder:
        running = Stack(folder, **settings)
        try:
            yield running
        finally:
            await running.close()
