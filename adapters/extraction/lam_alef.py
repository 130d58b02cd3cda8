"""Puts lam-alef right: PDFium turns lines that run from right to left, and with them the two letters of one glyph."""

import re
from ctypes import byref, c_double

import pypdfium2
from pypdfium2.raw import FPDFText_GetCharOrigin, FPDFText_GetUnicode

_TURNED = re.compile("[اأإآ]ل")


def restore(layer: pypdfium2.PdfTextPage, text: str) -> str:
    """Swap alef and lam where both stand at one place, as the letters of a ligature do; elsewhere alef comes first."""
    if not _TURNED.search(text) or layer.count_chars() != len(text):
        return text
    letters = list(text)
    for match in _TURNED.finditer(text):
        at = match.start()
        if _is_at(layer, at, text) and _origin(layer, at) == _origin(layer, at + 1):
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def _is_at(layer: pypdfium2.PdfTextPage, index: int, text: str) -> bool:
    return all(FPDFText_GetUnicode(layer, at) == ord(text[at]) for at in (index, index + 1))


def _origin(layer: pypdfium2.PdfTextPage, index: int) -> tuple[float, float] | None:
    x, y = c_double(), c_double()
    return (x.value, y.value) if FPDFText_GetCharOrigin(layer, index, byref(x), byref(y)) else None
