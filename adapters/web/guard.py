"""The one place where connections to hosts that users name are opened.

A name is resolved once, every address of it is checked, and the connection goes to an address that
was checked: a name server that answers differently the next time is not asked again. TLS and the
`Host` header keep the name.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpcore2

from domain.errors import UrlRefused, UrlUnreachable
from domain.web import Address, Network, is_fetchable

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Gives all addresses of a name. Raises `socket.gaierror`."""

_TRIED = 3
_A_WEB_PORT = 443
# Threads of their own: a name server that is slow on purpose must not hold those that write blobs.
_RESOLVERS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="resolve")


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to what `domain.web.is_fetchable` lets through, and to nothing else."""

    def __init__(self, allowed: Sequence[Network] = (), resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve or resolve_by_system
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the interface's own)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Open a connection to a checked address. Raises `UrlRefused`, `UrlUnreachable`, httpcore2's errors."""
        failure: Exception | None = None
        for address in (await self._addresses(host, port))[:_TRIED]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or refused()

    async def connect_unix_socket(self, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        """Refuse: no URL leads to a socket of this machine."""
        raise refused()

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts."""
        await self._inner.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        found = await _looked_up(host, port, self._resolve)
        return _all_or_none(found, port, self._allowed)


async def public_addresses(host: str, port: int, allowed: Sequence[Network], resolve: Resolve) -> Sequence[Address]:
    """Give the addresses of a host that serves no pages, a database's: any port, else as for pages."""
    return _all_or_none(await _looked_up(host, port, resolve), _A_WEB_PORT, allowed)


def _all_or_none(found: Sequence[Address], port: int, allowed: Sequence[Network]) -> Sequence[Address]:
    """One address that is refused refuses the host: a name with two faces is no page's."""
    if not found or not all(is_fetchable(address, port, allowed) for address in found):
        raise refused()
    return found


async def _looked_up(host: str, port: int, resolve: Resolve) -> Sequence[Address]:
    with suppress(ValueError):
        return [ipaddress.ip_address(host)]
    try:
        return await resolve(host, port)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise UrlUnreachable("The host's name cannot be resolved just now. Try again in a moment.") from error
        raise refused() from error
    except UnicodeError as error:  # a label that is too long
        raise refused() from error


async def resolve_by_system(host: str, port: int) -> Sequence[Address]:
    """Ask the system's resolver, as every program here does."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        _RESOLVERS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    )
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def refused() -> UrlRefused:
    """Say the same of a host that is not there and of one that is private: nobody maps a network with it."""
    return UrlRefused(
        "This host has no public address, or the port is not a web server's. Check the URL. Hosts of a private "
        "network are fetched only where the operator allows it (CHATSPHERE_FETCH_ALLOWED_NETWORKS).",
        param="url",
    )
