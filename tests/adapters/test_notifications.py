"""The hub wakes who waits for an id, also after its connection was lost."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.notifications import Notifications


async def notify(engine: AsyncEngine, channel: str, payload: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("select pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})


async def test_a_notification_wakes_its_waiter_and_nobody_else(engine: AsyncEngine, database_url: str) -> None:
    hub = Notifications(database_url)
    async with hub.subscribe("turn_events", "a") as mine, hub.subscribe("turn_events", "b") as other:
        await asyncio.wait_for(mine.wait(), 60)  # the connection stands: everyone is woken once
        await asyncio.wait_for(other.wait(), 60)
        mine.clear()
        other.clear()
        await notify(engine, "turn_events", "a")
        await asyncio.wait_for(mine.wait(), 60)
        assert not other.is_set()
    await hub.close()


async def test_a_lost_connection_is_made_again_and_wakes_everyone(engine: AsyncEngine, database_url: str) -> None:
    hub = Notifications(database_url)
    async with hub.subscribe("documents", "a") as wake:
        await asyncio.wait_for(wake.wait(), 60)
        wake.clear()
        async with engine.begin() as connection:
            await connection.execute(
                text("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'listen'")
            )
        await asyncio.wait_for(wake.wait(), 60)
        wake.clear()
        await notify(engine, "documents", "a")
        await asyncio.wait_for(wake.wait(), 60)
    await hub.close()


@pytest.mark.parametrize(
    "error", [OSError(), asyncpg.InternalClientError(), ValueError()], ids=lambda error: type(error).__name__
)
async def test_whatever_ends_the_connection_it_is_made_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    connect, errors = asyncpg.connect, [error]

    async def fail_once(*args: object, **options: object) -> object:
        if errors:
            raise errors.pop()
        return await connect(*args, **options)

    monkeypatch.setattr(asyncpg, "connect", fail_once)
    hub = Notifications(database_url)
    async with hub.subscribe("documents", "a") as wake:
        await asyncio.wait_for(wake.wait(), 60)
    assert not errors
    await hub.close()


async def test_closing_wakes_everyone_so_that_no_reader_hangs(database_url: str) -> None:
    hub = Notifications(database_url)
    async with hub.subscribe("documents", "a") as wake:
        await asyncio.wait_for(wake.wait(), 60)
        wake.clear()
        await hub.close()
        assert wake.is_set()
