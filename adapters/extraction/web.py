"""Reads a web page: what is content, as Markdown."""

import codecs
import re
from pathlib import Path

from adapters.extraction.cleaning import clean_piece
from adapters.extraction.encoding import encoding_of
from adapters.extraction.markdown import from_html, tidy
from adapters.extraction.messages import NO_TEXT_IN_FILE
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import NoText

_HEAD = 4096
_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})|<\?xml[^>]{0,100}encoding=["']([\w.:-]{1,40})""", re.IGNORECASE)  # fmt: skip


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write the page."""
    data = source.read_bytes()
    output.encoding = codecs.lookup(order["encoding"] or _encoding(source, data)).name
    text = tidy(clean_piece(from_html(data.decode(output.encoding, "replace"), page=True)))
    if not text.strip():
        raise NoText(NO_TEXT_IN_FILE)
    output.write_text(text)


def _encoding(source: Path, data: bytes) -> str:
    """Take the declared encoding where every byte fits it and the bytes are not UTF-8; it is often wrong."""
    found = encoding_of(source)
    declared = _DECLARED.search(data, 0, _HEAD)
    if found.startswith("utf") or declared is None:
        return found
    name = (declared[1] or declared[2]).decode("ascii")
    try:
        name = codecs.lookup({"iso-8859-1": "cp1252", "latin1": "cp1252"}.get(name.lower(), name)).name
        data.decode(name)
    except (LookupError, UnicodeError, ValueError):
        return found
    return found if name.startswith(("utf", "ascii")) else name
