"""What servers of tools offer: asked every few minutes, and otherwise remembered."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import connections
from adapters.postgres.engine import transaction
from adapters.sealing import Sealer
from adapters.tools.mcp import McpCaller
from domain import offers, tools
from domain.connections import Catalogue, ConnectionKind, McpSecret
from domain.errors import DomainError
from domain.ids import ConnectionId, UserId
from domain.tools import Tool

log = structlog.get_logger(__name__)

_KEPT = timedelta(minutes=10)
# A server that is away costs the step that asks it 15 s: others do not ask again at once.
_PAUSE = timedelta(minutes=1)


class Catalogues:
    """Asks servers for their tools."""

    def __init__(self, engine: AsyncEngine, caller: McpCaller, sealer: Sealer, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._caller = caller
        self._sealer = sealer
        self._now = now

    async def of(self, owner: UserId, configured: Sequence[Tool]) -> Mapping[ConnectionId, Catalogue]:
        """Give the catalogues of the servers that tools name. One that does not answer offers what it did before."""
        wanted = [id_ for id_, kind in tools.connections_of(configured).items() if kind is ConnectionKind.MCP]
        if not wanted:
            return offers.NO_CATALOGUES
        async with self._engine.connect() as connection:
            due = await connections.uncatalogued(connection, owner, wanted, since=self._now() - _KEPT)
        for id_ in due:
            await self._ask(owner, id_)
        async with self._engine.connect() as connection:
            return await connections.catalogues(connection, owner, wanted)

    async def _ask(self, owner: UserId, id_: ConnectionId) -> None:
        catalogue, at = None, self._now() - _KEPT + _PAUSE
        try:
            async with self._engine.connect() as connection:
                sealed = await connections.sealed(connection, owner, id_, ConnectionKind.MCP)
            catalogue = await self._caller.catalogue(McpSecret.model_validate_json(self._sealer.open(sealed)))
            at = self._now()
        except DomainError as error:
            log.warning("catalogue_not_read", connection_id=str(id_), code=error.code)
        async with transaction(self._engine) as connection:
            await connections.keep_catalogue(connection, owner, id_, catalogue, at=at)
