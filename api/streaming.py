"""Readers of a turn: woken by notifications, reading the tables; so they work from any process and resume."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from functools import partial

from sse_starlette import EventSourceResponse, ServerSentEvent

from adapters.postgres import messages, turn_events
from adapters.postgres.engine import reading
from adapters.postgres.notifications import wait_for
from adapters.postgres.patience import patiently
from adapters.postgres.turn_ends import FINAL_EVENT, final_data
from adapters.postgres.turn_events import CHANNEL, ENDS, Event, Feed
from adapters.wiring import Adapters
from domain.conversation import FINAL_EVENTS, TurnOutcome
from domain.ids import TurnId, answer_id

_HEARTBEAT_SECONDS = 10
_POLL_SECONDS = 2.0  # covers a notification that was lost
_PATIENCE = timedelta(seconds=60)


def event_stream(events: AsyncIterator[ServerSentEvent], headers: dict[str, str] | None = None) -> EventSourceResponse:
    """Answer with server-sent events, and with a comment every 10 s while there are none."""
    return EventSourceResponse(events, headers=headers, ping=_HEARTBEAT_SECONDS, ping_message_factory=_heartbeat)


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="still here")


async def turn_stream(adapters: Adapters, turn_id: TurnId, *, after: int = 0) -> AsyncIterator[ServerSentEvent]:
    """Yield a turn's events as they are sent. Whoever stops listening stops nothing."""
    async with aclosing(follow(adapters, turn_id, after=after)) as events:
        async for event in events:
            yield _render(event)


async def follow(adapters: Adapters, turn_id: TurnId, *, after: int = 0) -> AsyncGenerator[Event]:
    """Yield a turn's events after a sequence, then end."""
    async with adapters.notifications.subscribe(CHANNEL, turn_id) as wake:
        while True:
            wake.clear()
            feed = await patiently(partial(adapters.feeds.read, turn_id, after=after), within=_PATIENCE)
            if feed is None:
                return
            for event in feed.events:
                after = event.sequence
                yield event
                if event.type in FINAL_EVENTS:
                    return
            if feed.events and after < feed.last_sequence:
                continue  # there were more than are read at once
            if feed.final:
                if after < feed.last_sequence:
                    yield await _expired(adapters, turn_id, feed)
                return
            await wait_for(wake, _POLL_SECONDS)


async def ended(adapters: Adapters, turn_id: TurnId, *, within: timedelta, just_begun: bool = False) -> bool:
    """Wait until a turn has ended or is gone, `within` at most; one that has `just_begun` is not looked at before."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    async with adapters.notifications.subscribe(ENDS, turn_id) as wake:
        if just_begun:
            await wait_for(wake, _POLL_SECONDS)
        while True:
            wake.clear()
            final = await patiently(partial(_is_final, adapters, turn_id), within=_PATIENCE)
            left = deadline - loop.time()
            if final or left <= 0:
                return final
            await wait_for(wake, min(left, _POLL_SECONDS))


async def _is_final(adapters: Adapters, turn_id: TurnId) -> bool:
    async with reading(adapters.engine) as connection:
        return await turn_events.is_final(connection, turn_id)


async def _expired(adapters: Adapters, turn_id: TurnId, feed: Feed) -> Event:
    """Make the last event anew, where housekeeping has removed the stored ones."""
    async with reading(adapters.engine) as connection:
        answer = await messages.find(connection, answer_id(turn_id))
    data = {} if answer is None else final_data(answer, cut_off=feed.cut_off)
    return Event(feed.last_sequence, FINAL_EVENT[TurnOutcome(feed.status.value)], data)


def _render(event: Event) -> ServerSentEvent:
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(data, id=str(event.sequence), event=event.type.value)
