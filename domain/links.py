"""Links of an answer: only those that its passages hold, and no images, filtered while the answer streams."""
# ruff: noqa: RUF001  (punctuation of other scripts is a part of what this file is about)

import html
import unicodedata
from collections.abc import Iterable

import regex

REMOVED = "(link removed)"

_STOPS = "、。，．；：！？…—（）「」『』《》〈〉【】“”"
"""What ends an address in a script without spaces. A reader's client may take it for a part of the address."""

# A scheme is bounded, since a long text without spaces would be looked through again from each of its letters.
_URL = regex.compile(
    rf"""(?ix) (?: (?:[a-z][a-z0-9+.-]{{0,40}}:)? [/\\]{{2}} | \bwww\. | \b(?:javascript|vbscript|data|file|blob|mailto|tel): )
    [^\s<>"'()\[\]{{}}`|] [^\s<>"'()\[\]{{}}`|{_STOPS}]*"""
)
_SCRIPT = regex.compile(r"(?i)(?:javascript|vbscript|data|file|blob):")
_ESCAPED = regex.compile(r"\\([!-/:-@\[-`{-~])")
_AFTER_URL = ".,;:!?*_~"
_IMAGE = regex.compile(r"!(?=\\?\[)")
_TAG = regex.compile(r"<(?=[A-Za-z/!?])")
_TARGET = regex.compile(r"(?<=\])\((?!<?(?P<url>[^\s<>()]+)>?\))|(?<=\])\((?=<?(?P<kept>[^\s<>()]+)>?\))")
_PARTS = frozenset(":/.[]()<>!&\\@")  # what a link, an image or a tag cannot be without


def without_images_and_tags(text: str) -> str:
    """Write images as links and tags as text."""
    return _TAG.sub("< ", _IMAGE.sub("", text))


def urls_of(text: str) -> set[str]:
    """Give the URLs of a text as they are compared: without the punctuation that follows them."""
    return {match.group().rstrip(_AFTER_URL) for match in _URL.finditer(text)}


class LinkFilter:
    """Takes links out of a stream that none of the sources holds, letter by letter the same.

    An image becomes a link, and a tag text, so that reading an answer fetches nothing; a script is no link, even of a
    source. Words pass at once; from what may be a link's, the run is held until white space, or until a letter of a
    script without spaces shows that it is none. The output does not depend on where the stream was cut.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._known = {url for source in sources for url in urls_of(source) if not _SCRIPT.match(url)}
        self._shown = ""  # of the run at hand: a word, until something makes it part of a link
        self._held = ""
        self._stays_held = False  # until white space, whatever comes

    def feed(self, text: str) -> str:
        """Take the next piece; answer what is decided."""
        return "".join(self._decide(char) for char in text)

    def finish(self) -> str:
        """Answer what is still held back, at the end of the stream."""
        shown, held, self._shown, self._held = self._shown, self._held, "", ""
        self._stays_held = False
        cleaned = self._cleaned(shown + held) if held else shown
        if cleaned.startswith(shown):
            return cleaned[len(shown) :]
        return " " + cleaned[cleaned.index(REMOVED) :]  # of a link whose first letters are shown

    def _decide(self, char: str) -> str:
        if char.isspace():
            return self.finish() + char
        category = unicodedata.category(char)
        if not self._held and char not in _PARTS and category != "Cf":
            self._shown += char
            return char
        if category == "Lo" and not self._stays_held:
            if _is_settled(self._shown + self._held, char):
                decided, self._shown = self.finish(), char
                return decided + char
            self._stays_held = True
        self._held += char
        return ""

    def _cleaned(self, run: str) -> str:
        shown = _as_shown(run)
        unknown = not all(map(self._holds, _URL.finditer(shown)))
        if unknown and shown != run:
            return REMOVED  # it was written so as not to be seen for what it is
        if unknown:
            run = _URL.sub(self._known_or_removed, run)
        run = _TARGET.sub(self._target, _IMAGE.sub("", run))
        return _TAG.sub("< ", run)

    def _holds(self, match: "regex.Match[str]") -> bool:
        return match.group().rstrip(_AFTER_URL) in self._known and not _is_glued(match)

    def _known_or_removed(self, match: "regex.Match[str]") -> str:
        url = match.group().rstrip(_AFTER_URL)
        if url in self._known:
            return match.group() + " " * _is_glued(match)
        return REMOVED + match.group()[len(url) :]

    def _target(self, match: "regex.Match[str]") -> str:
        return "(" if match.group("kept") in self._known else " ("


def _is_glued(match: "regex.Match[str]") -> bool:
    return match.string[match.end() : match.end() + 1] in tuple(_STOPS)


def _is_settled(run: str, following: str) -> bool:
    """Tell whether nothing that comes can make a part of this run a link's, once a letter follows that begins none."""
    if "](" in run or _as_shown(run) != run:
        return False
    return all(match.end() <= len(run) for match in _URL.finditer(run + following))


def _as_shown(run: str) -> str:
    """Undo what a reader of Markdown undoes: entities, backslashes, characters without a width."""
    visible = "".join(char for char in html.unescape(run) if unicodedata.category(char) != "Cf")
    return _ESCAPED.sub(r"\1", visible)
