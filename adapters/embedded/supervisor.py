"""Starts the stack in order, keeps it running, and stops what it started: nothing more, nothing less."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import httpx2

from adapters.embedded import postgres, temporal
from adapters.embedded.console import Log
from adapters.embedded.errors import StackError
from adapters.embedded.ports import conflicts
from adapters.embedded.process import Child, Program
from adapters.embedded.settings import StackSettings
from adapters.embedded.stack import DATABASE, Stack, plan
from adapters.embedded.state import StateFolder
from adapters.embedded.waiting import within

_HOPELESS = 4  # deaths of one program before the stack was ever ready
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartFailed(StackError):
    """The stack did not come up."""


class Supervisor:
    """One run of the stack on a state folder whose lock is held."""

    def __init__(self, settings: StackSettings, state: StateFolder, log: Log) -> None:
        self._settings = settings
        self._state = state
        self._log = log
        self._children: list[Child] = []
        self._told_to_stop = asyncio.Event()
        self._hopeless: asyncio.Future[StartFailed] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Start everything, say when it is ready, and return after a signal and an orderly stop."""
        for left in await asyncio.to_thread(self._state.stop_leftovers):
            self._log.say(f"Stopped {left.name} (process {left.pid}), which a killed run had left.")
        if found := conflicts(self._settings.ports):
            raise StartFailed("\n".join(found))
        with self._signals():
            try:
                await self._start_unless_told_to_stop()
                await self._wait_until_told()
            finally:
                await self._stop()

    async def _start_unless_told_to_stop(self) -> None:
        starting = asyncio.create_task(self._start())
        told = asyncio.create_task(self._wait_until_told())
        ends: list[asyncio.Future[Any]] = [starting, told, self._hopeless]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        starting.cancel()  # nothing where it is done
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        if self._hopeless.done():
            raise self._hopeless.result()
        self._hopeless.cancel()  # deaths are counted until here

    async def _wait_until_told(self) -> None:
        await self._told_to_stop.wait()

    async def _start(self) -> None:
        stack = await asyncio.to_thread(plan, self._settings, self._state)
        self._log.say(f"State is in {self._state.path}. Ctrl-C stops everything.")
        changed = await asyncio.to_thread(postgres.let_system_user_in, self._state.path)
        for folder in set(changed) - {self._state.path}:
            self._log.say(f"{folder} now lets other users pass (not look), since Postgres does not run as root.")
        await self._keep(stack.temporal)
        await self._keep(stack.postgres)
        await asyncio.gather(self._prepare_database(stack), temporal.wait_until_serving(stack.temporal_server))
        await self._migrate(stack.migrations)
        await self._keep(stack.worker)
        await self._keep(stack.api)
        await self._wait_until_ready()
        self._log.banner("ChatSphere is ready", self._facts())

    async def _prepare_database(self, stack: Stack) -> None:
        await postgres.wait_until_ready(stack.cluster)
        await postgres.ensure_database(stack.cluster, DATABASE)

    async def _migrate(self, program: Program) -> None:
        code = await Child(program, self._state, self._log).run_once()
        if code != 0:
            raise StartFailed("The migrations failed; their log is above. Nothing was changed halfway.")

    async def _wait_until_ready(self) -> None:
        answer = "no answer"

        async def ready() -> bool:
            nonlocal answer
            try:
                response = await http.get("/readyz")
            except httpx2.HTTPError as error:
                answer = str(error) or type(error).__name__
                return False
            answer = f"{response.status_code} {response.text[:500]}"
            return response.status_code == httpx2.codes.OK

        async with httpx2.AsyncClient(base_url=self._settings.api_url, timeout=5, trust_env=False) as http:
            if not await within(self._settings.ready_seconds, ready, every=0.1):
                raise StartFailed(f"The API was not ready within {self._settings.ready_seconds:.0f} s: {answer}")

    async def _keep(self, program: Program) -> None:
        child = Child(program, self._state, self._log, on_death=self._count)
        self._children.append(child)
        try:
            await child.start()
        except OSError as error:
            raise StartFailed(f"{program.name} could not be started: {error}") from error

    def _count(self, child: Child) -> None:
        if child.deaths == _HOPELESS and not self._hopeless.done():
            name = child.program.name
            self._hopeless.set_result(
                StartFailed(f"{name} ended {child.deaths} times before the stack was ready; its log is above.")
            )

    async def _stop(self) -> None:
        for child in reversed(self._children):
            self._log.say(f"Stopping {child.program.name}.")
            await child.stop()
        self._log.say("Everything that was started is stopped.")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if not self._told_to_stop.is_set():
            self._told_to_stop.set()
            return
        self._log.say("Told twice: everything is killed. Nothing that was accepted is lost.", style="red")
        for child in self._children:
            child.kill()

    def _facts(self) -> list[tuple[str, str]]:
        settings = self._settings
        if settings.provider == "local":
            provider = "local: no key, no network; answers are quotations"
            other = "CHATSPHERE_PROVIDER=gemini CHATSPHERE_GEMINI_API_KEY=<key> make up"
        else:
            provider = f"{settings.provider}, embeddings by {settings.embeds_with}"
            other = "CHATSPHERE_PROVIDER=local make up"
        return [
            ("API docs", f"{settings.api_url}/docs"),
            ("Temporal Web UI", f"http://127.0.0.1:{settings.temporal_ui_port}"),
            ("Model provider", provider),
            ("Change it with", other),
            ("Try it with", "make demo (in another terminal)"),
        ]
