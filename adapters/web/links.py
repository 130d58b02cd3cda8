"""The links of a page, read by lxml from its first megabytes."""

from collections.abc import Iterator

from lxml import etree

from domain.errors import UrlInvalid
from domain.web import follow

LINK_BYTES = 4 << 20
LINKS = 5000
_HTML = ("text/html", "application/xhtml+xml")
_LOOKS = (b"<!doctype html", b"<html")


def is_html(content_type: str | None, content: bytes) -> bool:
    """Tell a page with links by what its server says of it, or by how it begins."""
    said = (content_type or "").split(";")[0].strip().lower()
    return said in _HTML or content.lstrip()[:20].lower().startswith(_LOOKS)


def links_of(content: bytes, url: str) -> tuple[str, list[str]]:
    """Give the base that links are relative to, and the links as they are written, `LINKS` at most.

    Blocking, for a thread; a megabyte full of links takes some 200 ms. No entity is resolved and nothing is loaded.
    """
    parser = etree.HTMLParser(no_network=True, remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError:
        return url, []
    if root is None:
        return url, []
    base = next((element.get("href") for element in root.iter("base") if element.get("href")), None)
    return _base(url, base), list(_hrefs(root))


def _base(url: str, written: str | None) -> str:
    try:
        return url if written is None else follow(url, written)
    except UrlInvalid:
        return url


def _hrefs(root: "etree._Element") -> Iterator[str]:
    count = 0
    for element in root.iter("a", "area"):
        href = element.get("href")
        if href is None or "nofollow" in (element.get("rel") or "").lower().split():
            continue
        count += 1
        if count > LINKS:
            return
        yield href
