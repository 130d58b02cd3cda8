"""Sitemaps and indexes of sitemaps, plain or packed, within bounds of depth, number and bytes."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from lxml import etree

from domain.errors import FetchFailed, InvalidRequest, UrlUnreachable
from domain.ports import Fetcher
from domain.web import Scope

SITEMAP_BYTES = 50 << 20  # the format's own limit, as unpacked
SITEMAPS = 50
INDEX_DEPTH = 3
_PIECE = 256 << 10
_GZIP = b"\x1f\x8b"


@dataclass(slots=True)
class _Found:
    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


async def read_sitemaps(fetcher: Fetcher, starts: Sequence[str], scope: Scope, *, limit: int) -> list[str]:
    """Gather the pages of a site that its sitemaps name, `limit` at most.

    A sitemap that cannot be read is passed over; where nothing is found, the failure that may pass is raised.
    """
    pages: dict[str, None] = {}
    waiting = [(start, 1) for start in dict.fromkeys(starts)]
    seen = {start for start, _ in waiting}
    passing: FetchFailed | None = None
    read = 0
    while waiting and read < SITEMAPS and len(pages) < limit:
        url, depth = waiting.pop(0)
        read += 1
        try:
            found = await _read(fetcher, url, limit=limit)
        except FetchFailed as error:
            passing = error if error.retryable else passing
            continue
        except InvalidRequest:
            continue
        pages |= dict.fromkeys(scope.take(url, found.pages))
        # A sitemap lies on the site itself, or the site could be made to have us ask another.
        inner = [one for one in Scope(scope.origin, "/").take(url, found.sitemaps) if one not in seen]
        if depth < INDEX_DEPTH:
            seen.update(inner)
            waiting += [(one, depth + 1) for one in inner]
    if not pages and passing is not None:
        raise passing
    return list(pages)[:limit]


async def _read(fetcher: Fetcher, url: str, *, limit: int) -> _Found:
    found = _Found()
    parser = etree.XMLPullParser(
        events=("end",),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )
    async with fetcher.open(url, limit=SITEMAP_BYTES) as page:
        async for piece in _unpacked(page.content):
            await asyncio.to_thread(_feed, parser, piece, found, limit)
            if len(found.pages) >= limit:
                break
    return found


def _feed(parser: "etree.XMLPullParser", piece: bytes, found: _Found, limit: int) -> None:
    try:
        parser.feed(piece)
    except etree.XMLSyntaxError as error:
        raise UrlUnreachable("The sitemap is no XML.") from error
    for _, element in parser.read_events():
        _take(element, found, limit)


def _take(element: "etree._Element", found: _Found, limit: int) -> None:
    if not isinstance(element.tag, str):
        return
    name = etree.QName(element).localname
    parent = element.getparent()
    if name == "loc" and parent is not None and isinstance(parent.tag, str):
        _keep(found, etree.QName(parent).localname, (element.text or "").strip(), limit)
    elif name in ("url", "sitemap"):
        element.clear()
        while parent is not None and element.getprevious() is not None:
            del parent[0]


def _keep(found: _Found, kind: str, written: str, limit: int) -> None:
    if not written.startswith(("http://", "https://")):  # the format wants whole URLs
        return
    if kind == "url" and len(found.pages) < limit:
        found.pages.append(written)
    elif kind == "sitemap" and len(found.sitemaps) < SITEMAPS:
        found.sitemaps.append(written)


async def _unpacked(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Unpack a file that is itself a gzip, which servers send without saying so; count what comes out."""
    unpacker: zlib._Decompress | None = None
    first, size = True, 0
    async for piece in content:
        if first and piece.startswith(_GZIP):
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        first = False
        for part in [piece] if unpacker is None else _inflated(unpacker, piece):
            size += len(part)
            if size > SITEMAP_BYTES:
                return
            yield part


def _inflated(unpacker: "zlib._Decompress", piece: bytes) -> Iterator[bytes]:
    try:
        while part := unpacker.decompress(piece, _PIECE):
            yield part
            piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise UrlUnreachable("The sitemap is packed, and the packing is broken.") from error
