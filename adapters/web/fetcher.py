"""`domain.ports.Fetcher` over httpx2: one GET at a time, redirects by hand, no cookies, no proxies, limits on all."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property

import httpcore2
import httpx2

from adapters.clock import now
from adapters.web.guard import GuardedBackend, Resolve
from domain.errors import TooManyRedirects, UrlBusy, UrlHttpError, UrlTimeout, UrlTooLarge, UrlUnreachable
from domain.ports import WebPage
from domain.web import MAX_REDIRECTS, Network, Validators, follow, normalise

USER_AGENT = "ChatSphere/1.0"
_ACCEPT = "text/html,application/xhtml+xml,text/markdown,text/plain,application/pdf;q=0.9,*/*;q=0.5"
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_MODIFIED = 304
_CONNECT_SECONDS = 10.0
_KEPT_SECONDS = 15.0
_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one page may take: bytes as unpacked, seconds for all of it, redirects included."""

    bytes: int = 50 << 20
    seconds: float = 30.0


class WebFetcher:
    """Fetches pages from public hosts. One a process; connections are kept for a moment between requests."""

    def __init__(
        self,
        limits: FetchLimits,
        *,
        allowed: Sequence[Network] = (),
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._allowed = allowed
        self._resolve = resolve
        self._tls = tls

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        known: Validators = Validators(),  # noqa: B008  (frozen)
        limit: int | None = None,
    ) -> AsyncIterator[WebPage]:
        """Ask for a page; its content streams while the block lasts. Raises `domain.errors.FetchFailed` kinds,
        `UrlInvalid`, `UrlRefused`."""
        clock = asyncio.timeout(self._limits.seconds)
        try:
            async with clock:
                final, response = await self._ask(normalise(url), known)
                try:
                    yield self._page(final, response, limit or self._limits.bytes)
                finally:
                    await response.aclose()
        except (TimeoutError, httpcore2.TimeoutException) as error:
            if isinstance(error, TimeoutError) and not clock.expired():
                raise
            raise UrlTimeout(
                f"The page did not come within {self._limits.seconds:g} s. Try again, or upload it as a file."
            ) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpx2.DecodingError, ssl.SSLError) as error:
            raise UrlUnreachable(
                "The server does not answer as a web server does: no connection, a bad certificate, or a broken "
                "answer. Check the URL, or try again."
            ) from error

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        if "_pool" in self.__dict__:
            await self._pool.aclose()

    @cached_property
    def _pool(self) -> httpcore2.AsyncConnectionPool:
        """Opened with the first page: most processes fetch none, and reading certificates takes its time."""
        return httpcore2.AsyncConnectionPool(
            ssl_context=self._tls or httpx2.create_ssl_context(),
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=GuardedBackend(self._allowed, self._resolve),
        )

    async def _ask(self, url: str, known: Validators) -> tuple[str, httpx2.Response]:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._get(url, known)
            target = response.headers.get("location")
            if response.status_code not in _REDIRECTS or target is None:
                return url, response
            await response.aclose()
            url = follow(url, target)
        raise TooManyRedirects(f"The page redirects more than {MAX_REDIRECTS} times. Send the URL that it ends at.")

    async def _get(self, url: str, known: Validators) -> httpx2.Response:
        headers = {"User-Agent": USER_AGENT, "Accept": _ACCEPT, "Accept-Encoding": "gzip, deflate"}
        if known.etag is not None:
            headers["If-None-Match"] = known.etag
        if known.last_modified is not None:
            headers["If-Modified-Since"] = known.last_modified
        request = httpx2.Request("GET", url, headers=headers)
        seconds = min(_CONNECT_SECONDS, self._limits.seconds)
        answer = await self._pool.handle_async_request(
            httpcore2.Request(
                "GET",
                httpcore2.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
            )
        )
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Stream(answer), request=request, extensions=answer.extensions
        )

    def _page(self, url: str, response: httpx2.Response, limit: int) -> WebPage:
        status = response.status_code
        if status != _NOT_MODIFIED:
            _require_success(response)
        return WebPage(
            url=url,
            status=status,
            not_modified=status == _NOT_MODIFIED,
            content_type=response.headers.get("content-type"),
            validators=Validators(_short(response.headers.get("etag")), _short(response.headers.get("last-modified"))),
            content=_content(response, limit),
        )


class _Stream(httpx2.AsyncByteStream):
    """The body as it comes from the connection, which closing gives back."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._answer.aiter_stream():
            yield data

    async def aclose(self) -> None:
        await self._answer.aclose()


async def _content(response: httpx2.Response, limit: int) -> AsyncIterator[bytes]:
    """Unpack piece by piece, a megabyte at most at a time, and stop at the limit: a bomb is never unpacked."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise UrlUnreachable("The server packs the page in a way that was not asked for. Upload it as a file.")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > limit:
        raise _too_large(limit)
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if max(size, response.num_bytes_downloaded) > limit:
            raise _too_large(limit)
        yield piece


def _require_success(response: httpx2.Response) -> None:
    status = response.status_code
    if status == 429 or status >= 500:
        raise UrlBusy(
            f"The server answered {status}: it is in trouble, or asks for a pause. Try again later.",
            http_status=status,
            retry_after=_pause(response.headers.get("retry-after")),
        )
    if not 200 <= status < 300:
        advice = {
            401: "The page needs a login. Upload it as a file.",
            403: "The server refuses programs, or the page needs a login. Upload it as a file.",
            404: "There is no such page. Check the URL.",
            410: "The page is gone for good.",
        }.get(status, "Check the URL.")
        raise UrlHttpError(f"The server answered {status}. {advice}", http_status=status)


def _pause(header: str | None) -> timedelta | None:
    """Read `Retry-After`, seconds or a date."""
    text = (header or "").strip()
    if text.isdecimal() and len(text) < 8:
        return timedelta(seconds=int(text))
    with suppress(ValueError, TypeError):
        until: datetime = parsedate_to_datetime(text)
        aware = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(aware - now(), timedelta(0))
    return None


def _short(value: str | None) -> str | None:
    """Keep a validator that is worth its room, and can be sent back."""
    return value if value and len(value) <= 500 and value.isascii() and value.isprintable() else None


def _too_large(limit: int) -> UrlTooLarge:
    return UrlTooLarge(f"The page has more than {limit} bytes, which is the limit. Upload a smaller file.")
