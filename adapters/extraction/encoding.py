"""Tells a text's encoding: by its mark, by UTF-8's own redundancy, by where its NULs are, else by statistics."""

import codecs
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from adapters.extraction.messages import BINARY
from domain.errors import UnsupportedFormat

PIECE = 1 << 16
# The longest marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What files are in. Statistics tell languages apart, not rare code pages with the same letters.
_COMMON = [
    "cp1252", "cp1251", "koi8_r", "cp866", "cp1250", "iso8859_2", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257",
    "cp874", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "iso8859_5", "cp437", "cp850", "mac_roman",
]  # fmt: skip
_WESTERN = frozenset({"cp1250", "cp1254", "cp1257", "iso8859_2", "cp437", "cp850", "mac_roman", "big5", "cp949"})
_WESTERN_LETTERS = frozenset(
    "äöüÄÖÜßéèêëÉÈàâáãåÀÂÁÃÅçÇîïíìôóõòøÔÓÕØûùúñÑæÆœŒ€£§°«»·¿¡©®™\u2013\u2014…•„\u201c\u201d\u2018\u2019\u201a\xa0"
)


def encoding_of(source: Path) -> str:
    """Name the encoding. Raises `UnsupportedFormat` where the file is binary or nothing fits."""
    with source.open("rb") as file:
        head = file.read(PIECE)
        for mark, name in _MARKS:
            if head.startswith(mark):
                return name
        if b"\x00" in head[:4096]:
            return _without_mark(head)
        wrong = _first_not_utf8(head, file)
        if wrong is None:
            return "utf-8"
        file.seek(wrong)
        data = file.read(PIECE)
        return "utf-8" if _is_damaged_utf8(data) else guess(data)


def decoded(data: bytes) -> str:
    """Decode a part of a document, whose declaration is missing or not to be trusted."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(guess(data[:PIECE]), "replace")


def guess(data: bytes) -> str:
    """Name the likeliest of the common encodings that are not UTF-8."""
    # Imported here: half a megabyte of tables that UTF-8 does not need.
    from charset_normalizer import from_bytes  # noqa: PLC0415  (see above)

    matches = from_bytes(data, cp_isolation=_COMMON)
    best = matches.best()
    if best is None:
        return "cp1252"  # which has a character for nearly every byte
    if best.encoding in _WESTERN and _is_western(data):
        return "cp1252"
    return str(best.encoding)


def _first_not_utf8(head: bytes, file: BinaryIO) -> int | None:
    """Find the piece that holds the first byte which is not UTF-8."""
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


def _is_damaged_utf8(data: bytes) -> bool:
    """Tell UTF-8 with a few wrong bytes, by how many of its characters beyond ASCII are well formed."""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return sum(char > "\x7f" for char in text) - wrong > 2 * wrong


def _without_mark(head: bytes) -> str:
    """UTF-16 text that is mostly Latin has its NULs at the odd or at the even places."""
    sample = head[:4096]
    places = Counter(at % 2 for at, byte in enumerate(sample) if byte == 0)
    half = len(sample) // 2 or 1
    for odd, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if places[odd] > 0.3 * half and places[1 - odd] < 0.05 * half:
            try:
                sample[: len(sample) // 2 * 2].decode(name, "strict" if len(head) <= len(sample) else "ignore")
            except UnicodeDecodeError:
                continue
            return name
    raise UnsupportedFormat(BINARY)


def _is_western(data: bytes) -> bool:
    """Tell whether it reads as Western European: its letters beyond ASCII are those of its languages."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    beyond = Counter(char for char in text if char > "\x7f")
    usual = sum(count for char, count in beyond.items() if char in _WESTERN_LETTERS)
    return usual >= 0.95 * sum(beyond.values())
