"""A real server of tools that speaks MCP over HTTP on the loopback, made with the official package."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.servers import free_port


@dataclass
class ToolServer:
    """What it was asked, and how a test holds or breaks it."""

    url: str
    booked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    listed: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None


@asynccontextmanager
async def listing_server(
    tools: Sequence[Mapping[str, Any]], *, endless: bool = False, called: bytes = b""
) -> AsyncIterator[ToolServer]:
    """Serve a list of tools as it is given, which no honest server would send; `endless` has always another page.

    `called` answers each call, with its id where it has a place for one.
    """
    running = ToolServer("")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = re.search(r"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                sent = _reply(json.loads(body)) if body else b""
                status = b"202 Accepted" if body else b"405 Not Allowed"
                writer.write(b"HTTP/1.1 %s\r\n" % (b"200 OK" if sent else status))
                writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(sent), sent))
                await writer.drain()
        writer.close()

    def _reply(asked: dict[str, Any]) -> bytes:
        results: dict[str, Any] = {"initialize": _HELLO, "tools/list": {"tools": list(tools)}}
        if asked["method"] == "tools/call":
            return called.replace(b"%d", str(asked["id"]).encode())
        if asked["method"] not in results:
            return b""
        running.listed += asked["method"] == "tools/list"
        more = {"nextCursor": str(running.listed)} if endless and asked["method"] == "tools/list" else {}
        result = results[asked["method"]] | more
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    async with server:
        yield running


_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "x", "version": "1"},
}


@asynccontextmanager
async def tool_server() -> AsyncIterator[ToolServer]:
    """Serve `add`, `book` and `break` until the block is left."""
    port = free_port()
    running = ToolServer(f"http://127.0.0.1:{port}/mcp")
    server = MCPServer("Shop")

    @server.tool(description="Adds two numbers.")
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool(description="Books a room.")
    async def book(room: str) -> str:
        running.booked.append(room)
        running.reached.set()
        if running.gate is not None:
            await running.gate.wait()
        return f"Room {room} is booked."

    @server.tool(name="break", description="Fails.")
    def fail() -> str:
        raise ValueError("no such thing")

    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = _Remembering(server.streamable_http_app(transport_security=security), running)
    http = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(http._serve())
    async with asyncio.timeout(60):
        while not http.started:  # noqa: ASYNC110  (a flag of uvicorn)
            await asyncio.sleep(0.01)
    try:
        yield running
    finally:
        http.should_exit = True
        await serving


class _Remembering:
    """Keeps the headers of what is asked."""

    def __init__(self, app: ASGIApp, running: ToolServer) -> None:
        self._app = app
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._running.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self._app(scope, receive, send)
