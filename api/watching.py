"""Watchers of what is worked on: its state as it is, each change, and an end with a final one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sse_starlette import ServerSentEvent

from adapters.postgres.engine import transaction
from adapters.postgres.notifications import wait_for
from adapters.wiring import Adapters
from domain.errors import NotFound

log = structlog.get_logger(__name__)

_POLL = 2.0  # seconds; covers a notification that was lost


class State(Protocol):
    """What is shown, rendered for the API."""

    @property
    def status(self) -> str:
        """Where it stands."""

    def model_dump_json(self) -> str:
        """Write as JSON."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is watched: the channel that wakes its watchers, how it is read, which states are told by name or final."""

    noun: str  # of its events
    channel: str
    id: UUID
    read: Callable[[AsyncConnection], Awaitable[State]]
    final: frozenset[str]
    named: frozenset[str] = frozenset()

    def event(self, status: str) -> str:
        """Name the event that tells this state."""
        return f"{self.noun}.{status}" if status in self.final | self.named else f"{self.noun}.progress"


async def watch(adapters: Adapters, subject: Subject) -> AsyncIterator[ServerSentEvent]:
    """Yield the state as it is, each change, and end with a final state, or where it is gone."""
    shown = ""
    async with adapters.notifications.subscribe(subject.channel, subject.id) as wake:
        while True:
            wake.clear()
            try:
                async with transaction(adapters.engine) as connection:
                    state = await subject.read(connection)
            except NotFound:
                yield ServerSentEvent(event=f"{subject.noun}.deleted", data=f'{{"id":"{subject.id}"}}')
                return
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                # The reader stays on while the database is away.
                log.warning("watch_interrupted", error=type(error).__name__)
            else:
                data = state.model_dump_json()
                if data != shown:
                    yield ServerSentEvent(event=subject.event(state.status), data=data)
                    shown = data
                if state.status in subject.final:
                    return
            await wait_for(wake, _POLL)
