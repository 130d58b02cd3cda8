"""One `LISTEN` connection a process; readers are woken and look into the tables themselves.

A notification carries an id and no content. One may get lost while the connection is down, so a
reader that waits also wakes by a timeout, and everyone is woken after a reconnect.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog
from sqlalchemy.engine import make_url

log = structlog.get_logger(__name__)

CHANNELS = ("turn_events", "turn_ends", "documents", "imports")
_RECONNECT_PAUSE = 0.5
_PROBE_PAUSE = 5.0


class Notifications:
    """Wakes whoever waits for an id on a channel."""

    def __init__(self, url: str) -> None:
        self._dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribe(self, channel: str, payload: object) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set on each notification; clear it before you read the tables."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="notifications")
        key, wake = (channel, str(payload)), asyncio.Event()
        self._waiting[key].add(wake)
        try:
            yield wake
        finally:
            self._waiting[key].discard(wake)
            if not self._waiting[key]:
                del self._waiting[key]

    async def close(self) -> None:
        """Stop listening and wake everyone, so that no reader hangs."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._wake_all()

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as error:  # noqa: BLE001  (without this loop nobody in the process is woken again)
                log.warning("notifications_lost", reason=type(error).__name__)
            await asyncio.sleep(_RECONNECT_PAUSE)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=5, server_settings={"application_name": "listen"})
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            for channel in CHANNELS:
                await connection.add_listener(channel, self._on_notification)
            self._wake_all()  # whatever came while nobody listened
            while not lost.is_set():
                await wait_for(lost, _PROBE_PAUSE)
                await connection.execute("select 1", timeout=5)  # a dead peer is noticed within seconds
        finally:
            connection.terminate()

    def _on_notification(self, _connection: object, _pid: int, channel: str, payload: str) -> None:
        for wake in self._waiting.get((channel, payload), ()):
            wake.set()

    def _wake_all(self) -> None:
        for wakes in self._waiting.values():
            for wake in wakes:
                wake.set()


async def wait_for(wake: asyncio.Event, timeout: float) -> None:  # noqa: ASYNC109  (a poll, not a failure)
    """Wait for a notification, `timeout` seconds at most."""
    with suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), timeout)
