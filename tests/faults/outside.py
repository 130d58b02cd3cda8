"""What agents' tools reach: a site, a server that speaks MCP and a database, each of which holds whoever asks it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from adapters.embedded import postgres
from tests.mcp_server import ToolServer, tool_server
from tests.servers import PostgresServer
from tests.web_site import Site, running_site

READ, ORDER = "/hook", "/order"
STATEMENT = "SELECT hook FROM hooks"
_DATABASE = "outside"
_LOCK = 31
# Not by waiting for the lock: what reads for an agent waits for none longer than two seconds.
_VIEW = f"""
CREATE OR REPLACE FUNCTION hook() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
    WHILE NOT pg_try_advisory_xact_lock_shared({_LOCK}) LOOP PERFORM pg_sleep(0.05); END LOOP;
    RETURN 31;
END $$;
CREATE OR REPLACE VIEW hooks AS SELECT hook() AS hook
"""
_READERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
_PAUSE = 0.05


class Outside:
    """Nobody is answered until all are let go."""

    def __init__(self, site: Site, shop: ToolServer, database: asyncpg.Connection, dsn: str) -> None:
        self.site = site
        self.shop = shop
        self.dsn = dsn
        self._database = database
        self._gate = asyncio.Event()
        site.put(READ, "It hangs on hook 31.", gate=self._gate)
        site.put(ORDER, "A second key is ordered.", gate=self._gate)
        shop.gate = self._gate

    async def visited(self, path: str) -> None:
        """Wait until the site has been asked for a path."""
        while not self.site.count(path):
            await self.site.reached.wait()
            self.site.reached.clear()

    async def queried(self) -> None:
        """Wait until the database has been asked."""
        while True:
            if await self._database.fetchval(_READERS):
                return
            await asyncio.sleep(_PAUSE)

    def let_go(self) -> None:
        """Answer all, also where the database is gone and with it the lock."""
        self._gate.set()
        self._database.terminate()


@contextlib.asynccontextmanager
async def outside(server: PostgresServer) -> AsyncIterator[Outside]:
    """Serve until the block is left; the database lives and dies with the product's."""
    await postgres.ensure_database(server.cluster, _DATABASE)
    dsn = server.cluster.url(_DATABASE, driver="postgresql")
    async with running_site() as site, tool_server() as shop:
        database = await asyncpg.connect(dsn)
        await database.execute(_VIEW)
        await database.execute(f"SELECT pg_advisory_lock({_LOCK})")
        reached = Outside(site, shop, database, dsn)
        try:
            yield reached
        finally:
            reached.let_go()
