"""Servers of tools that speak MCP over HTTP: listed and called by the official client, over the guarded network."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache

import httpcore2
import httpx2
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import JsonValue, ValidationError

from adapters.tools.mcp_results import Called, NotCalled
from adapters.web.guard import GuardedBackend, Resolve
from domain.characters import visible
from domain.connections import Catalogue, CatalogueTool, McpSecret
from domain.errors import DomainError, McpFailed
from domain.storing import storable, storable_json
from domain.tools import CATALOGUE_TOOLS
from domain.web import Network

_CONNECT_SECONDS = 10.0
_LIST_SECONDS = 15.0
_ANSWER_BYTES = 4 << 20
_LIST_PAGES = 10
_SCHEMA_CHARACTERS = 8000
# Errors by which a server says that it ran nothing. The client says others of answers that are none, such as a
# gateway's 502: what the tool did before that nobody knows.
_NOT_RUN = (types.METHOD_NOT_FOUND, types.INVALID_PARAMS)


class McpSessions:
    """Opens a session for each use, and keeps none."""

    def __init__(self, *, allowed: Sequence[Network] = (), resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def catalogue(self, secret: McpSecret) -> Catalogue:
        """List the server's tools, as many as are taken. Raises `McpFailed`."""
        found: list[CatalogueTool] = []
        try:
            async with asyncio.timeout(_LIST_SECONDS), self._session(secret, _LIST_SECONDS) as client:
                cursor: str | None = None
                for _ in range(_LIST_PAGES):
                    page = await client.list_tools(cursor=cursor)
                    found += [tool for each in page.tools if (tool := _tool(each)) is not None]
                    cursor = page.next_cursor
                    if cursor is None or len(found) >= CATALOGUE_TOOLS:
                        break
        except _FAILURES as error:
            raise _failed(error) from error
        return Catalogue(tools=tuple(found[:CATALOGUE_TOOLS]))

    async def call(self, secret: McpSecret, name: str, arguments: dict[str, JsonValue], *, seconds: float) -> Called:
        """Call a tool. Raises `NotCalled` where the server was not reached, `McpFailed` where nobody knows."""
        begun = False
        try:
            async with asyncio.timeout(_CONNECT_SECONDS + seconds), self._session(secret, seconds) as client:
                begun = True
                return _called(await client.call_tool(name, arguments))
        except _FAILURES as error:
            refusal = _cause(error, MCPError)
            if isinstance(refusal, MCPError) and begun and refusal.code in _NOT_RUN:
                return Called(f"The server refuses the call: {refusal}"[:1000], failed=True)
            if begun:
                raise _failed(error) from error
            raise NotCalled(_failed(error).message) from error

    @asynccontextmanager
    async def _session(self, secret: McpSecret, seconds: float) -> AsyncIterator[Client]:
        timeout = httpx2.Timeout(seconds, connect=_CONNECT_SECONDS)
        transport = _GuardedTransport(self._allowed, self._resolve)
        async with (
            httpx2.AsyncClient(transport=transport, headers=secret.headers, timeout=timeout, trust_env=False) as http,
            Client(streamable_http_client(secret.url, http_client=http)) as client,
        ):
            yield client


_FAILURES = (
    MCPError,
    DomainError,
    OSError,
    httpx2.HTTPError,
    TimeoutError,
    ValidationError,
    ValueError,
    ExceptionGroup,
)


def _failed(error: BaseException) -> McpFailed:
    cause = _cause(error, DomainError)
    if isinstance(cause, DomainError):
        return McpFailed(cause.message)
    if _cause(error, TimeoutError) is not None or _cause(error, httpx2.TimeoutException) is not None:
        return McpFailed("The server of tools did not answer in time.")
    return McpFailed("The server of tools cannot be reached, or does not speak MCP.")


def _cause(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """Find an error of a kind in what task groups and clients put around it."""
    while error is not None:
        if isinstance(error, kind):
            return error
        if isinstance(error, BaseExceptionGroup):
            return next((found for each in error.exceptions if (found := _cause(each, kind)) is not None), None)
        error = error.__cause__ or error.__context__
    return None


def _tool(tool: types.Tool) -> CatalogueTool | None:
    """Take a tool whose schema can be stored, and is not longer than a model should read."""
    try:
        parameters = {storable(key): storable_json(value) for key, value in tool.input_schema.items()}
    except ValueError:
        return None
    description = visible(storable(tool.description or ""))[:1000]
    made = CatalogueTool(name=storable(tool.name), description=description, parameters=parameters)
    is_callable = made.name == tool.name and len(made.name) <= 64
    return made if is_callable and len(made.model_dump_json()) <= _SCHEMA_CHARACTERS else None


def _called(result: types.CallToolResult) -> Called:
    texts = [
        part.text if isinstance(part, types.TextContent) else f"({part.type}: not shown)" for part in result.content
    ]
    if not texts and result.structured_content is not None:
        texts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return Called("\n".join(texts), failed=bool(result.is_error))


class _GuardedTransport(httpx2.AsyncHTTPTransport):
    """Connects by the guard only, and reads no more of an answer than may be."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve | None) -> None:
        super().__init__(verify=_tls(), trust_env=False)
        backend = GuardedBackend(allowed, resolve)
        self._pool = httpcore2.AsyncConnectionPool(ssl_context=_tls(), network_backend=backend)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  (of this transport)
        # MCP is UTF-8. What a server names instead may be a codec that takes minutes for a megabyte.
        response.headers["content-type"] = response.headers.get("content-type", "").partition(";")[0]
        response.stream = _Limited(response.stream)
        return response


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > _ANSWER_BYTES:
                raise httpx2.ReadError("more than is read")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


@cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
