"""Requests of an agent: to URLs that its owner allows, over the guarded network, bounded in bytes and time."""

import asyncio
import codecs
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import httpcore2
import httpx2

from adapters.web.fetcher import USER_AGENT
from adapters.web.guard import GuardedBackend, Resolve
from domain.errors import UrlRefused, UrlTimeout, UrlUnreachable
from domain.web import Network

_CONNECT_SECONDS = 10.0
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded")
_OF_NAMES = ("idna", "punycode")  # encodings of hosts' names, which take minutes for a megabyte
_NOT_SENT = (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.PoolTimeout, UrlUnreachable)


class NotSent(Exception):
    """The request did not leave: nothing happened at the other side."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; `cut` where there was more than was read."""

    status: int
    content_type: str
    location: str | None
    text: str
    cut: bool


class HttpCaller:
    """Sends one request, follows no redirect, keeps no connection."""

    def __init__(self, *, allowed: Sequence[Network] = (), resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, max_bytes: int, seconds: float
    ) -> Answer:
        """Send it. Raises `NotSent`, `UrlRefused`, `UrlTimeout`, `UrlUnreachable`."""
        try:
            async with asyncio.timeout(seconds), self._pool() as pool:
                return await self._send(pool, method, url, headers=headers, body=body, max_bytes=max_bytes)
        except UrlRefused:
            raise
        except _NOT_SENT as error:
            raise NotSent("The server cannot be reached.") from error
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise UrlTimeout(f"The server did not answer within {seconds:g} s.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpx2.DecodingError, ssl.SSLError) as error:
            raise UrlUnreachable("The server does not answer as a web server does, or broke off.") from error

    def _pool(self) -> httpcore2.AsyncConnectionPool:
        backend = GuardedBackend(self._allowed, self._resolve)
        return httpcore2.AsyncConnectionPool(ssl_context=_tls(), network_backend=backend, max_connections=1)

    async def _send(
        self,
        pool: httpcore2.AsyncConnectionPool,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        max_bytes: int,
    ) -> Answer:
        usual = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        request = httpx2.Request(method, url, headers={**usual, **headers}, content=body)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), _CONNECT_SECONDS * 6) | {
            "connect": _CONNECT_SECONDS
        }
        answer = await pool.handle_async_request(
            httpcore2.Request(
                method,
                httpcore2.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=body,
                extensions={"timeout": timeout},
            )
        )
        try:
            return await _read(answer, max_bytes)
        finally:
            await answer.aclose()


async def _read(answer: httpcore2.Response, max_bytes: int) -> Answer:
    response = httpx2.Response(answer.status, headers=answer.headers)
    content_type = response.headers.get("content-type", "")
    content = b""
    async for piece in answer.aiter_stream():
        content += piece
        if len(content) > max_bytes:
            break
    is_text = not content_type or content_type.lower().startswith(_TEXTS) or "+json" in content_type
    encoding = response.charset_encoding or "utf-8"
    text = _decoded(content[:max_bytes], encoding) if is_text else f"(no text: {len(content)} bytes or more)"
    return Answer(answer.status, content_type[:200], response.headers.get("location"), text, len(content) > max_bytes)


def _decoded(content: bytes, encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        return content.decode("utf-8" if name in _OF_NAMES else encoding, "replace")
    except (LookupError, UnicodeError):
        return content.decode("utf-8", "replace")


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes its time: once a process."""
    return httpx2.create_ssl_context()
