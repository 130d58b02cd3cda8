"""A reader of a turn: what it reads, and when."""

import asyncio
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from adapters.postgres.notifications import Notifications
from adapters.postgres.turn_events import Event, Feed
from adapters.wiring import Adapters
from api.streaming import follow
from domain.conversation import EventType, TurnStatus
from domain.ids import TurnId

TURN = TurnId(uuid4())
STARTED = Event(1, EventType.STARTED, {})


def delta(sequence: int) -> Event:
    return Event(sequence, EventType.DELTA, {"text": "a"})


def a_feed(last: int, *events: Event, status: TurnStatus = TurnStatus.RUNNING) -> Feed:
    return Feed(status, last, list(events), cut_off=False)


COMPLETED = Event(4, EventType.COMPLETED, {})


class ScriptedFeeds:
    """Gives what it is told to, and counts."""

    def __init__(self, *feeds: Feed) -> None:
        self._feeds = list(feeds)
        self.asked_after: list[int] = []

    async def read(self, turn_id: TurnId, *, after: int) -> Feed | None:
        assert turn_id == TURN
        self.asked_after.append(after)
        return self._feeds.pop(0)


def adapters_with(feeds: ScriptedFeeds, url: str) -> Adapters:
    return cast(Adapters, SimpleNamespace(notifications=Notifications(url), feeds=feeds))


@pytest.mark.parametrize(
    ("seen", "next_read"),
    [(a_feed(2, STARTED, delta(2)), 1), (a_feed(3, STARTED, delta(2)), 2)],
    ids=["all there is", "a part"],
)
async def test_a_reader_reads_on_at_once_where_there_is_more_and_else_waits_to_be_woken(
    database_url: str, seen: Feed, next_read: int
) -> None:
    rest = a_feed(4, delta(3), COMPLETED, status=TurnStatus.COMPLETE)
    feeds = ScriptedFeeds(seen, rest)
    adapters = adapters_with(feeds, database_url)
    async with aclosing(follow(adapters, TURN)) as events:
        assert [await anext(events) for _ in seen.events] == seen.events
        following: asyncio.Task[Any] = asyncio.ensure_future(anext(events))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(feeds.asked_after) == next_read
        await adapters.notifications.close()  # wakes everyone
        assert [await following, *[event async for event in events]] == rest.events
    assert feeds.asked_after == [0, 2]
