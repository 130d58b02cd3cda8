"""A web site over real HTTP on the loopback: pages by path, and the faults that a site can have."""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Headers = dict[str, str]
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Page:
    """What a path answers. With an `etag` a conditional request for it is answered 304."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    etag: str | None = None
    headers: Headers = field(default_factory=dict)
    behaviour: Behaviour | None = None  # instead of an answer
    gate: asyncio.Event | None = None  # waited for before the answer


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    headers: Headers
    method: str = "GET"
    body: bytes = b""


class Site:
    """Serves `pages`; remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.reached = asyncio.Event()  # a page with a gate was asked for

    def put(self, path: str, body: str | bytes = b"", **page: object) -> str:
        """Serve a page; answers its URL."""
        content = body.encode() if isinstance(body, str) else body
        self.pages[path] = Page(content, **page)  # type: ignore[arg-type]  # the fields of a page
        return f"{self.url}{path}"

    def html(self, path: str, *links: str, text: str = "", **page: object) -> str:
        """Serve a page of HTML with links."""
        anchors = "".join(f'<p><a href="{link}">a link</a></p>' for link in links)
        body = f"<!doctype html><html><head><title>T</title></head><body><h1>{path}</h1><p>{text}</p>{anchors}</body></html>"
        return self.put(path, body, content_type="text/html; charset=utf-8", **page)

    def redirect(self, path: str, target: str, status: int = 302) -> str:
        return self.put(path, status=status, headers={"Location": target})

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked.path == path for asked in self.asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _asked(reader)) is not None:
                await self._answer(asked, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        page = self.pages.get(asked.path, Page(b"nothing here", status=404))
        if page.gate is not None:
            self.reached.set()
            await page.gate.wait()
        if page.behaviour is not None:
            await page.behaviour(writer)
            raise ConnectionResetError
        status, body = page.status, page.body
        sent = {"Content-Type": page.content_type, **page.headers}
        if page.etag is not None:
            sent["ETag"] = page.etag
            if asked.headers.get("if-none-match") == page.etag:
                status, body = 304, b""
        lines = [f"HTTP/1.1 {status} Fine", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in sent.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()


async def _asked(reader: asyncio.StreamReader) -> Asked | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(first.split(" ")[1], headers, first.split(" ")[0], body)


@contextlib.asynccontextmanager
async def running_site(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """Serve on a free port until the block is left; over TLS where a context is given."""
    site = Site()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(site._serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, host, 0, ssl=tls)
    site.url = f"{'http' if tls is None else 'https'}://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def bomb(megabytes: int) -> bytes:
    """Zeros, packed a thousandfold."""
    return gzip.compress(bytes(megabytes << 20))


async def drip(writer: asyncio.StreamWriter) -> None:
    """A server that never finishes its header, one byte at a time."""
    while True:
        writer.write(b"H" if writer.is_closing() else b"X")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    """A server that sends its page one byte at a time, for ever."""
    writer.write(b"HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless(writer: asyncio.StreamWriter) -> None:
    """A server that sends as much as is read."""
    writer.write(b"HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()
