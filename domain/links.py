"""Links of an answer: only those that its passages hold, and no images, filtered while the answer streams."""

import html
import unicodedata
from collections.abc import Iterable

import regex

REMOVED = "(link removed)"

_URL = regex.compile(
    r"""(?ix) (?: (?:[a-z][a-z0-9+.-]*:)? [/\\]{2} | \bwww\. | \b(?:javascript|vbscript|data|file|blob|mailto|tel): )
    [^\s<>"'()\[\]{}`|]+"""
)
_ESCAPED = regex.compile(r"\\([!-/:-@\[-`{-~])")
_AFTER_URL = ".,;:!?*_~"
_IMAGE = regex.compile(r"!(?=\\?\[)")
_TAG = regex.compile(r"<(?=[A-Za-z/!?])")
_TARGET = regex.compile(r"(?<=\])\((?!<?(?P<url>[^\s<>()]+)>?\))|(?<=\])\((?=<?(?P<kept>[^\s<>()]+)>?\))")
_PARTS = frozenset(":/.[]()<>!&\\@")  # what a link, an image or a tag cannot be without


def urls_of(text: str) -> set[str]:
    """Give the URLs of a text as they are compared: without the punctuation that follows them."""
    return {match.group().rstrip(_AFTER_URL) for match in _URL.finditer(text)}


class LinkFilter:
    """Takes links out of a stream that none of the sources holds, letter by letter the same.

    An image becomes a link, and a tag text, so that reading an answer fetches nothing. Words pass at once; from what
    may be a link's, the run is held until white space. The output does not depend on where the stream was cut.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._known = {url for source in sources for url in urls_of(source)}
        self._shown = ""  # of the run at hand: a word, until something makes it part of a link
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; answer what is decided."""
        return "".join(self._decide(char) for char in text)

    def finish(self) -> str:
        """Answer what is still held back, at the end of the stream."""
        shown, held, self._shown, self._held = self._shown, self._held, "", ""
        cleaned = self._cleaned(shown + held) if held else shown
        return cleaned[len(shown) :] if cleaned.startswith(shown) else f" {REMOVED}"

    def _decide(self, char: str) -> str:
        if char.isspace():
            return self.finish() + char
        if not self._held and char not in _PARTS and unicodedata.category(char) != "Cf":
            self._shown += char
            return char
        self._held += char
        return ""

    def _cleaned(self, run: str) -> str:
        shown = _as_shown(run)
        unknown = urls_of(shown) - self._known
        if unknown and shown != run:
            return REMOVED  # it was written so as not to be seen for what it is
        if unknown:
            run = _URL.sub(self._known_or_removed, run)
        run = _TARGET.sub(self._target, _IMAGE.sub("", run))
        return _TAG.sub("< ", run)

    def _known_or_removed(self, match: "regex.Match[str]") -> str:
        url = match.group().rstrip(_AFTER_URL)
        return match.group() if url in self._known else REMOVED + match.group()[len(url) :]

    def _target(self, match: "regex.Match[str]") -> str:
        return "(" if match.group("kept") in self._known else " ("


def _as_shown(run: str) -> str:
    """Undo what a reader of Markdown undoes: entities, backslashes, characters without a width."""
    visible = "".join(char for char in html.unescape(run) if unicodedata.category(char) != "Cf")
    return _ESCAPED.sub(r"\1", visible)
