"""Reads plain text and Markdown in pieces whose concatenation is the text."""

import codecs
from pathlib import Path
from typing import BinaryIO

from adapters.extraction.cleaning import clean_piece
from adapters.extraction.messages import BINARY, NO_TEXT_IN_FILE, UNKNOWN_ENCODING
from adapters.extraction.output import PageWriter
from domain.errors import NoText, UnsupportedFormat

PIECE = 1 << 16
# The longest marks first: that of UTF-32 begins with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_plain(source: Path, output: PageWriter) -> None:
    """Write the text in pieces of 65,536 characters, line ends as `\\n`."""
    encoding = _encoding(source)
    found = False
    try:
        with source.open(encoding=encoding, newline=None) as file:
            while piece := file.read(PIECE):
                text = clean_piece(piece)
                found = found or bool(text.strip())
                output.write(None, text, None)
    except UnicodeError:
        raise UnsupportedFormat(UNKNOWN_ENCODING) from None
    if not found:
        raise NoText(NO_TEXT_IN_FILE)


def _encoding(source: Path) -> str:
    """Tell by the mark; else UTF-8, if all of it is; else by the piece that holds the first byte which is not."""
    with source.open("rb") as file:
        head = file.read(PIECE)
        for mark, name in _BOMS:
            if head.startswith(mark):
                return name
        if b"\x00" in head[:4096]:
            raise UnsupportedFormat(BINARY)
        wrong = _first_not_utf8(head, file)
        if wrong is None:
            return "utf-8"
        file.seek(wrong)
        # Imported here: half a megabyte of tables that UTF-8 does not need.
        import charset_normalizer  # noqa: PLC0415  (see above)

        best = charset_normalizer.from_bytes(file.read(PIECE)).best()
    if best is None:
        raise UnsupportedFormat(UNKNOWN_ENCODING)
    return best.encoding


def _first_not_utf8(head: bytes, file: BinaryIO) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    passed, piece = 0, head
    while True:
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            return passed
        if not piece:
            return None
        passed += len(piece)
        piece = file.read(PIECE)
