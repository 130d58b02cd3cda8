"""Bring extracted text to what Postgres and JSON take, and tell text from glyph codes."""

import re
import unicodedata
from collections import Counter

# PDFium puts U+FFFE, by its other call U+0002, where a line ended in a hyphen.
_JOINED = re.compile("(?<=[^\\W\\d_])[\ufffe\x02](?=[^\\W\\d_])")
_LINE_HYPHEN = re.compile("[\ufffe\x02]")
_NEWLINES = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_UNSTORABLE = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff"
_REMOVED = re.compile(f"[{_UNSTORABLE}]")
_REMOVED_OF_PDF = re.compile(f"[{_UNSTORABLE}\u00ad]")
# Latin ligatures and Hebrew and Arabic letters in the shape that print gives them: nobody searches for these.
_SHAPED = "\ufb00-\ufb06\ufb1d-\ufb4f\ufb50-\ufdf9\ufe70-\ufefc"
_SHAPES = re.compile(f"[{_SHAPED}]+")
_ODD_PIECE = re.compile(f"[{_UNSTORABLE}{_SHAPED}]")
_ODD = re.compile(f"[\r\x0b\x0c\x85\u2028\u2029\u00ad{_UNSTORABLE}]")

_SAMPLE = 4000  # of a page, until there are _ENOUGH characters; then
_LATER_SAMPLE = 200
_ENOUGH = 20_000
_STRANGE = frozenset({"Cc", "Co", "Cn", "Cs"})
_LEADERS = re.compile(r"[.…·_=*-]{3,}")
_GLYPH_CODES = re.compile(r"(?:/[A-Za-z]{0,3}\d{1,5}){4,}")


def clean_piece(text: str) -> str:
    """Remove what cannot be stored (NUL, controls, lone surrogates), and spell ligatures as people type them.

    Newlines are read as `\\n` already.
    """
    if not _ODD_PIECE.search(text):
        return text
    return _spelled(_REMOVED.sub("", text))


def clean_page(text: str) -> str:
    """Clean one page of a PDF: hyphens of line ends, newlines, controls, ligatures, white space at line ends.

    Each pattern runs only where it has work: over 300 pages they took as long as PDFium itself.
    """
    text = text.replace("\r\n", "\n")
    if "\ufffe" in text or "\x02" in text:
        text = _LINE_HYPHEN.sub("-", _JOINED.sub(_join, text))
    if _ODD.search(text):
        text = _REMOVED_OF_PDF.sub("", _NEWLINES.sub("\n", text))
    if _SHAPES.search(text):
        text = _spelled(text)
    return "\n".join(map(str.rstrip, text.split("\n"))).strip("\n")


def _spelled(text: str) -> str:
    return _SHAPES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)


def _join(match: re.Match[str]) -> str:
    """Drop the hyphen in "imple-mented", keep it in "Sino-British"."""
    after = match.string[match.end()]
    return "" if after.islower() or after == after.swapcase() else "-"


class Legibility:
    """Measures whether a document's text layer is language.

    Over the first 4,000 characters of the first pages and 200 of each later one, white space and
    line-end hyphens left out and dot leaders counted once: the share of characters that no text has
    (controls, private use, unassigned, U+FFFD) and the share of letters, marks and digits. In the
    corpus prose and tables have 87-98 % letters and digits and under 0.1 % strange ones, a page of
    formulas in a symbol font 90 % and 6 %, a document without character maps 68 % and 4 %.
    """

    def __init__(self) -> None:
        self._total = self._strange = self._letters = 0

    def add(self, raw: str) -> None:
        """Count one page, as it was before cleaning."""
        sample = raw[: _SAMPLE if self._total < _ENOUGH else _LATER_SAMPLE]
        codes = sum(len(match.group()) for match in _GLYPH_CODES.finditer(sample))
        self._strange += codes
        self._letters -= codes
        for char, count in Counter(_LEADERS.sub(".", sample)).items():
            if char.isspace() or char in "\ufffe\x02":
                continue
            self._total += count
            category = unicodedata.category(char)
            if category in _STRANGE or char == "\ufffd":
                self._strange += count
            elif category[0] in "LNM":
                self._letters += count

    def is_garbage(self) -> bool:
        """Tell glyph codes from text; a text of a few characters is never called garbage."""
        if self._total < 40:
            return False
        strange, letters = self._strange / self._total, self._letters / self._total
        return strange > 0.2 or letters < 0.25 or (strange > 0.01 and letters < 0.8)
