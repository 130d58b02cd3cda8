"""What a pool gives out when the server that it was connected to went away."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import engine as engines
from adapters.postgres.engine import open_engine, reading

_WHO = text("SELECT pg_backend_pid()")


async def _who(engine: AsyncEngine) -> int:
    async with reading(engine) as connection:
        return int((await connection.execute(_WHO)).scalar_one())


async def _hang_up(engine: AsyncEngine, process: int) -> None:
    """End a connection from the server's side, as a restart does."""
    other = open_engine(engine.url.render_as_string(hide_password=False))
    async with reading(other) as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
    await other.dispose()


@pytest.mark.parametrize("trusted", [-1.0, 60.0], ids=["idle", "just used"])
async def test_a_connection_that_the_server_closed_is_replaced(
    engine: AsyncEngine, trusted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_TRUSTED_SECONDS", trusted)
    first = await _who(engine)
    assert await _who(engine) == first
    await _hang_up(engine, first)
    assert await _who(engine) != first


async def test_an_idle_connection_is_asked_and_one_just_used_is_not(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await _who(engine)
    monkeypatch.setattr("asyncpg.Connection.execute", _refused)
    assert await _who(engine) == first
    monkeypatch.setattr(engines, "_TRUSTED_SECONDS", -1.0)
    assert await _who(engine) != first


async def test_a_worker_does_not_ask(database_url: str) -> None:
    worker = open_engine(database_url, probe=False)
    await _hang_up(worker, await _who(worker))
    with pytest.raises(DBAPIError):
        await _who(worker)
    await worker.dispose()


async def _refused(*_: object, **__: object) -> None:
    raise ConnectionResetError
