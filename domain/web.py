"""Addresses of pages: how a URL is written, which hosts and addresses may be asked, which links belong to a crawl.

A URL's text decides nothing about safety beyond its form: what counts is the address that its host
resolves to, which is checked where the connection is opened.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import idna

from domain.errors import UrlInvalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_LENGTH = 2000
MAX_REDIRECTS = 5
PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
"""Ports that are asked of public hosts: others serve mail, databases, and no pages."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH_SAFE = "/!$&'()*+,;=:@~%"
_QUERY_SAFE = _PATH_SAFE + "?[]"

# Where clouds keep the credentials of a machine. Some lie in public ranges, so none is left to the ranges,
# and none is opened by a network that an operator allows.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
# The registries of special addresses, more of them than this Python's `is_global` may know.
_SPECIAL: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
    )
)  # fmt: skip
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


# Addresses


def is_fetchable(address: Address, port: int, allowed: Sequence[Network] = ()) -> bool:
    """Tell whether a connection may be opened: to a public host's web port, or anywhere in an allowed network."""
    meant = meant_by(address)
    if meant in _METADATA or address in _METADATA:
        return False
    if any(one in network for network in allowed for one in (address, meant) if one.version == network.version):
        return True
    return port in PUBLIC_PORTS and _is_public(meant)


def meant_by(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 one stands for; tunnels are not looked into, but refused."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address not in _GLOBAL_UNICAST or address.scope_id):
        return False
    special = any(address in network for network in _SPECIAL if network.version == address.version)
    return address.is_global and not address.is_multicast and not special


# URLs


def normalise(text: str) -> str:
    """Write a URL in its one form: ASCII, no fragment, no default port. Raises `UrlInvalid`."""
    text = text.strip()
    if len(text) > URL_LENGTH:
        raise UrlInvalid(f"The URL is longer than {URL_LENGTH} characters.", param="url")
    if _FORBIDDEN.search(text):
        raise UrlInvalid("The URL holds spaces, backslashes or control characters. Encode or remove them.", param="url")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UrlInvalid("This is not a URL. Send one such as https://example.com/page.", param="url") from error
    scheme = _scheme(parts)
    host = _host(parts)
    netloc = host if port is None or port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    path = _encode(_without_dots(parts.path), _PATH_SAFE) or "/"
    query = f"?{_encode(parts.query, _QUERY_SAFE)}" if parts.query else ""
    url = f"{scheme}://{netloc}{path}{query}"
    if len(url) > URL_LENGTH:
        raise UrlInvalid(f"The URL is longer than {URL_LENGTH} characters when it is encoded.", param="url")
    return url


def follow(base: str, reference: str) -> str:
    """Resolve a link or a redirect, as browsers read them. Raises `UrlInvalid`."""
    written = re.sub(r"[\t\r\n]", "", reference).strip().replace(" ", "%20")
    try:
        return normalise(urljoin(base, written))
    except ValueError as error:
        raise UrlInvalid("A link or redirect of this page is not a URL.", param="url") from error


def origin(url: str) -> str:
    """Scheme, host and port of a normalised URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def filename(url: str) -> str:
    """The last segment of a normalised URL's path, which may say what kind of text it is."""
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1])


def title(url: str) -> str:
    """Name a document for a normalised URL: without its scheme, readable, at most 255 characters."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    readable = re.sub(r"[\x00-\x1f\x7f]", " ", unquote(f"{parts.netloc}{parts.path}{query}"))
    return readable.rstrip("/")[:255].strip()


def _scheme(parts: SplitResult) -> str:
    if parts.scheme not in _DEFAULT_PORTS:
        raise UrlInvalid("Only http and https URLs are fetched.", param="url")
    if "@" in parts.netloc:
        raise UrlInvalid("The URL holds a user name or password. Send it without; pages behind a login are not read.",
                         param="url")  # fmt: skip
    return parts.scheme


def _host(parts: SplitResult) -> str:
    given = parts.hostname or ""
    if "[" in parts.netloc:
        address = _ipv6(given)
        return f"[{address}]" if address.ipv4_mapped is None else str(address.ipv4_mapped)
    host = _ascii(given.removesuffix("."))
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        # Anything but four decimal numbers is read differently by different programs.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise _bad_host() from error
    return host


def _ipv6(text: str) -> ipaddress.IPv6Address:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise _bad_host() from error
    if address.scope_id is not None:
        raise _bad_host()
    return address


def _ascii(host: str) -> str:
    if host.isascii() and re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", host) and len(host) <= 253:
        return host
    try:
        encoded = idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise _bad_host() from error
    return encoded.lower()


def _bad_host() -> UrlInvalid:
    return UrlInvalid("The URL's host is not a name or address. Check its spelling.", param="url")


def _without_dots(path: str) -> str:
    """Resolve `.` and `..`, also where they are encoded, as every server would."""
    kept: list[str] = []
    segments = path.split("/")
    for number, segment in enumerate(segments):
        plain = segment.replace("%2e", ".").replace("%2E", ".")
        if plain in (".", ".."):
            if plain == ".." and len(kept) > 1:
                kept.pop()
            if number == len(segments) - 1:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept)


def _encode(text: str, safe: str) -> str:
    """Encode what has to be, and decode what need not be, so that one page has one URL."""
    encoded = quote(_ESCAPE.sub("%25", text), safe=safe)

    def plain(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return re.sub(r"%([0-9a-fA-F]{2})", plain, encoded)


# Crawls


@dataclass(frozen=True, slots=True)
class Scope:
    """What belongs to a site: an origin, and the path under which the crawl began."""

    origin: str
    path: str

    @classmethod
    def of(cls, url: str) -> "Scope":
        """Take the folder of a page: that of `/docs/start.html` is `/docs/`, as is that of `/docs`."""
        path = urlsplit(url).path
        head, _, last = path.rpartition("/")
        return cls(origin(url), path if last and "." not in last else f"{head}/")

    def holds(self, url: str) -> bool:
        """Tell whether a normalised URL belongs."""
        path = urlsplit(url).path
        inside = path.startswith(self.path) if self.path.endswith("/") else path == self.path
        return origin(url) == self.origin and (inside or path.startswith(f"{self.path}/"))

    def take(self, base: str, references: Sequence[str]) -> list[str]:
        """Keep the links that belong, each once, in their order; `http` is read as `https` where the site is that."""
        kept: dict[str, None] = {}
        for reference in references:
            try:
                url = follow(base, reference)
            except UrlInvalid:
                continue
            if self.origin.startswith("https://") and url.startswith("http://"):
                url = f"https://{url.removeprefix('http://')}"
            if self.holds(url):
                kept[url] = None
        return list(kept)


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a version of a page, to ask later whether it has another."""

    etag: str | None = None
    last_modified: str | None = None


class RobotsRule(StrEnum):
    """What the answer to `/robots.txt` means (RFC 9309)."""

    READ = "read"
    ALLOW = "allow"
    DISALLOW = "disallow"


def robots_rule(status: int) -> RobotsRule:
    """A file that is not there allows all; a server in trouble is left alone."""
    if 200 <= status < 300:
        return RobotsRule.READ
    return RobotsRule.ALLOW if 400 <= status < 500 and status != 429 else RobotsRule.DISALLOW
