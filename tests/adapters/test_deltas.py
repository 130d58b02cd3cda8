"""Pieces of many answers in one statement: each fenced as if it came alone."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.deltas import Delta, Deltas
from adapters.postgres.feeds import Feeds
from adapters.postgres.tables import turns
from adapters.postgres.turns import Claim
from domain.errors import TurnClosed
from domain.ids import TurnId
from tests.activities.turn_steps import running


def a_delta(turn_id: TurnId, text: str, *, after: int = 1, attempt: int = 1) -> Delta:
    return Delta(turn_id, Claim(attempt, after), after, text)


async def test_pieces_of_many_turns_go_each_to_its_own_and_readers_see_them(engine: AsyncEngine) -> None:
    refs = await running(engine, 20)
    deltas, feeds = Deltas(engine), Feeds(engine)
    for round_ in range(3):
        pieces = [a_delta(ref.turn_id, f"{n}.{round_} ", after=1 + round_) for n, ref in enumerate(refs)]
        assert await asyncio.gather(*map(deltas.append, pieces)) == [2 + round_] * 20
    read = await asyncio.gather(*(feeds.read(ref.turn_id, after=1) for ref in refs))
    for number, feed in enumerate(read):
        assert feed is not None
        assert "".join(event.data["text"] for event in feed.events) == f"{number}.0 {number}.1 {number}.2 "
        assert [event.sequence for event in feed.events] == [2, 3, 4]


async def test_a_piece_of_a_later_attempts_turn_is_refused_and_those_beside_it_are_stored(engine: AsyncEngine) -> None:
    refs = await running(engine, 3)
    async with engine.begin() as connection:
        await connection.execute(update(turns).where(turns.c.id == refs[1].turn_id).values(attempt=2))
    deltas = Deltas(engine)
    found = await asyncio.gather(*(deltas.append(a_delta(ref.turn_id, "a")) for ref in refs), return_exceptions=True)
    assert [each if isinstance(each, int) else type(each) for each in found] == [2, TurnClosed, 2]


async def test_pieces_gather_longer_the_more_answers_are_written_at_once(engine: AsyncEngine) -> None:
    deltas = Deltas(engine)
    alone = deltas.window
    with ExitStack() as answers:
        for _ in range(200):
            answers.enter_context(deltas.writing())
        assert deltas.window == 4 * alone
    assert deltas.window == alone == timedelta(milliseconds=50)


async def test_a_piece_that_is_stored_already_is_found_and_not_doubled(engine: AsyncEngine) -> None:
    (ref,) = await running(engine, 1)
    deltas = Deltas(engine)
    assert [await deltas.append(a_delta(ref.turn_id, "a")) for _ in range(2)] == [2, 2]
    with pytest.raises(TurnClosed):
        await deltas.append(a_delta(ref.turn_id, "another"))


async def test_a_turn_that_somebody_holds_makes_no_other_wait(engine: AsyncEngine) -> None:
    held, free = await running(engine, 2)
    deltas = Deltas(engine)
    async with engine.begin() as connection:
        await connection.execute(select(turns.c.id).where(turns.c.id == held.turn_id).with_for_update())
        waiting = asyncio.create_task(deltas.append(a_delta(held.turn_id, "a")))
        assert await deltas.append(a_delta(free.turn_id, "a")) == 2  # who waits for the other's lock ends with an error
        assert not waiting.done()
    assert await waiting == 2


async def test_two_readers_of_one_turn_get_each_what_they_have_not_seen(engine: AsyncEngine) -> None:
    (ref,) = await running(engine, 1)
    deltas, feeds = Deltas(engine), Feeds(engine)
    await deltas.append(a_delta(ref.turn_id, "a"))
    first, second, gone = await asyncio.gather(
        feeds.read(ref.turn_id, after=0), feeds.read(ref.turn_id, after=2), feeds.read(TurnId(ref.bot_id), after=0)
    )
    assert first is not None
    assert second is not None
    assert ([event.sequence for event in first.events], second.events, gone) == ([1, 2], [], None)
