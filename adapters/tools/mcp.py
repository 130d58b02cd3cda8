"""What is asked of servers of tools that speak MCP over HTTP."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from pydantic import JsonValue

from adapters.tools.mcp_results import Called
from adapters.web.guard import Resolve
from domain.connections import Catalogue, McpSecret
from domain.web import Network


class _Sessions(Protocol):
    async def catalogue(self, secret: McpSecret) -> Catalogue: ...

    async def call(
        self, secret: McpSecret, name: str, arguments: dict[str, JsonValue], *, seconds: float
    ) -> Called: ...


class McpCaller:
    """Lists and calls tools of servers. The client is imported with the first use: most workers need none."""

    def __init__(self, *, allowed: Sequence[Network] = (), resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def catalogue(self, secret: McpSecret) -> Catalogue:
        """List the server's tools, as many as are taken. Raises `McpFailed`."""
        return await self._sessions.catalogue(secret)

    async def call(self, secret: McpSecret, name: str, arguments: dict[str, JsonValue], *, seconds: float) -> Called:
        """Call a tool. Raises `NotCalled` where the server was not reached, `McpFailed` where nobody knows."""
        return await self._sessions.call(secret, name, arguments, seconds=seconds)

    @cached_property
    def _sessions(self) -> _Sessions:
        from adapters.tools.mcp_sessions import McpSessions  # noqa: PLC0415  (see above)

        return McpSessions(allowed=self._allowed, resolve=self._resolve)
