"""A partial HNSW index of one bot's vectors: built and dropped concurrently, on a connection outside of transactions.

One is built at a time in a database, since two concurrent builds on a table wait for each other. Whoever waits asks
again and again: a statement that waits holds a snapshot, which the build would wait for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.ids import BotId
from domain.indexes import IndexState

_ADVISORY_LOCK = 7_205_759_404  # any constant that nothing else on this database takes
_LOOK_AGAIN = 1.0  # seconds
_ABANDONED = "5s"  # after which the server notices that its client is gone, and gives up what it does for it

_STATE = "SELECT state FROM bot_indexes WHERE bot_id = $1"
_IS_VALID = "SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass($1)"


def name_of(bot: BotId) -> str:
    """Name a bot's index."""
    return f"ix_chunks_of_bot_{bot.hex}"


async def is_valid(connection: AsyncConnection, bot: BotId) -> bool:
    """Tell whether the bot's index is there, and whole."""
    query = text("SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(:name)")
    return bool(await connection.scalar(query, {"name": name_of(bot)}))


async def build(engine: AsyncEngine, bot: BotId, *, memory_bytes: int) -> None:
    """Build the bot's index, unless it is there. What an interrupted build left behind is dropped first.

    An attempt that was given up may come here when no index is wanted any more: it leaves it at that.
    One process builds, beside which the others answer; and only a parallel build would need shared memory.
    """
    async with _alone(engine) as connection:
        if await connection.fetchval(_STATE, bot) != IndexState.BUILDING:
            return
        if await connection.fetchval(_IS_VALID, name_of(bot)):
            return
        await _drop(connection, bot)
        await connection.execute(f"SET maintenance_work_mem = '{memory_bytes >> 10}kB'")
        await connection.execute("SET max_parallel_maintenance_workers = 0")
        await connection.execute(
            f"CREATE INDEX CONCURRENTLY {name_of(bot)} ON chunks USING hnsw (embedding halfvec_cosine_ops)"
            f" WITH (m = 16, ef_construction = 128) WHERE bot_id = '{bot}'"
        )


async def drop(engine: AsyncEngine, bot: BotId) -> None:
    """Drop the bot's index, if there is one."""
    async with _alone(engine) as connection:
        await _drop(connection, bot)


async def drop_with_row(engine: AsyncEngine, bot: BotId) -> None:
    """Drop an index that is out of use, then its row, before anybody else builds: no index is without a row."""
    async with _alone(engine) as connection:
        if await connection.fetchval(_STATE, bot) == IndexState.DROPPING:
            await _drop(connection, bot)
            await connection.execute("DELETE FROM bot_indexes WHERE bot_id = $1", bot)


async def _drop(connection: asyncpg.Connection, bot: BotId) -> None:
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name_of(bot)}")


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """Connect as the only one who builds or drops. The lock goes with the connection, however that ends."""
    connection = await asyncpg.connect(
        engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        timeout=5,
        server_settings={
            "application_name": "indexes",
            "client_connection_check_interval": _ABANDONED,
            "lock_timeout": "0",
            "statement_timeout": "0",
        },
    )
    try:
        # Another process has it, and tells nobody when it lets go.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ADVISORY_LOCK):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN)
        yield connection
    finally:
        await connection.close(timeout=5)
