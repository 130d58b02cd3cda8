"""Links of an answer: only those that its passages hold, and no images, filtered while the answer streams."""
# ruff: noqa: RUF001  (punctuation of other scripts is a part of what this file is about)

import html
import unicodedata
from collections.abc import Iterable

import regex

REMOVED = "(link removed)"

_STOPS = "、。，．；：！？…—（）「」『』《》〈〉【】“”"
"""What ends an address in a script without spaces. A reader's client may take it for a part of the address."""

# After what a client may read on, to another host at the worst: `https://known.example'@other.example`.
_READ_ON = regex.compile(rf"[{_STOPS}]|['`{{|}}]+[.,;:!?*_~-]*[\w@%/]")
_FIRST = r"""[^\s<>"'()\[\]{}`|]"""
_REST = rf"""[^\s<>"'()\[\]{{}}`|{_STOPS}]*"""


def _urls(bare: str) -> "regex.Pattern[str]":
    """Find links; `bare` comes before slashes that neither a scheme nor a place for an address makes a link's.

    A scheme is bounded, since a long text without spaces would be looked through again from each of its letters.
    """
    return regex.compile(
        rf"""(?ix)
        (?: (?: [a-z][a-z0-9+.-]{{0,40}}: | (?<=\]\(|[<:]|=["']?) | {bare} ) [/\\]{{2}} (?: {_FIRST} | \[[\da-f:.]+\]? )
        | (?: \bwww\. | \b(?:javascript|vbscript|data|file|blob|mailto|tel): ) {_FIRST}
        ) {_REST}"""
    )


# Slashes in running text are a comment's, a path's or a division's. Renderers that look for links there (linkify-it)
# take them for one before a name with a dot, `localhost` or an IPv6 address.
_URL = _urls(r"""(?<!/) (?= /{2,}+ [^\s<>()\[\]/]* (?: \.[^\s\p{P}<>`|] | localhost | \[[\da-f]*: ) )""")
_BEGUN_URL = _urls("")
_SCHEMES = ("https", "ftp", "www", "javascript", "vbscript", "data", "file", "blob", "mailto", "tel")
_LONGEST_SCHEME = max(map(len, _SCHEMES))
_BEGUN_SCHEMES = frozenset(scheme[:length] for scheme in _SCHEMES for length in range(len(scheme) + 1))
_SCRIPT = regex.compile(r"(?i)(?:javascript|vbscript|data|file|blob):")
_ESCAPED = regex.compile(r"\\([!-/:-@\[-`{-~])")
_AFTER_URL = ".,;:!?*_~"
_IMAGE = regex.compile(r"!(?=\\?\[)")
_TAG = regex.compile(r"<(?=[A-Za-z/!?])")
_DEFINED = regex.compile(rf"(?i)\]:<?(?P<url>(?:[a-z][a-z0-9+.-]{{0,40}}:|[/\\]{{2}})[^\s{_STOPS}]+)")
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
        self._opener = ""  # of a definition, whose address may follow

    def feed(self, text: str) -> str:
        """Take the next piece; answer what is decided."""
        return "".join(self._decide(char) for char in text)

    def finish(self) -> str:
        """Answer what is still held back, at the end of the stream."""
        shown, held, self._shown, self._held = self._shown, self._held, "", ""
        self._stays_held = False
        run = shown + held
        cleaned = self._cleaned(run) if held else shown
        if run.strip(">"):  # a quotation's mark stands before each line of it
            self._opener = "]:" * run.endswith("]:")
        if cleaned.startswith(shown):
            return cleaned[len(shown) :]
        return " " + cleaned[cleaned.index(REMOVED) :]  # of a link whose first letters are shown

    def _decide(self, char: str) -> str:
        if char.isspace():
            return self.finish() + char
        category = unicodedata.category(char)
        word = self._held + char
        if _begins_scheme(self._held):
            if _begins_scheme(word) and not _is_in_word(self._shown):
                self._held = word
                return ""
            if char not in _PARTS and category != "Cf":
                self._shown, self._held = self._shown + word, ""
                return word
        if category == "Lo" and not self._stays_held:
            if _is_settled(self._shown + self._held, char):
                decided, self._shown = self.finish(), char
                return decided + char
            self._stays_held = True
        self._held = word
        return ""

    def _cleaned(self, run: str) -> str:
        run = self._opener + _IMAGE.sub("", run)
        shown = _as_shown(run)
        unknown = not all(map(self._holds, _URL.finditer(shown)))
        if (unknown and shown != run) or not all(map(self._defines, _DEFINED.finditer(shown))):
            return REMOVED  # it was written so as not to be seen for what it is
        if unknown:
            run = _URL.sub(self._known_or_removed, run)
        return _TAG.sub("< ", _TARGET.sub(self._target, run)).removeprefix(self._opener)

    def _holds(self, match: "regex.Match[str]") -> bool:
        return match.group().rstrip(_AFTER_URL) in self._known and not _is_glued(match)

    def _defines(self, match: "regex.Match[str]") -> bool:
        """Tell whether all of a definition's address is known: it ends at white space, whatever stands in it."""
        return match.group("url").removesuffix(">").rstrip(_AFTER_URL) in self._known

    def _known_or_removed(self, match: "regex.Match[str]") -> str:
        url = match.group().rstrip(_AFTER_URL)
        if url in self._known:
            return match.group() + " " * _is_glued(match)
        return REMOVED + match.group()[len(url) :]

    def _target(self, match: "regex.Match[str]") -> str:
        return "(" if match.group("kept") in self._known else " ("


def _is_glued(match: "regex.Match[str]") -> bool:
    return _READ_ON.match(match.string, match.end()) is not None


def _begins_scheme(text: str) -> bool:
    return text[: _LONGEST_SCHEME + 1].lower() in _BEGUN_SCHEMES


def _is_in_word(shown: str) -> bool:
    return shown[-1:].isascii() and shown[-1:].isalnum()


def _is_settled(run: str, following: str) -> bool:
    """Tell whether nothing that comes can make a part of this run a link's, once a letter follows that begins none."""
    if "](" in run or _as_shown(run) != run:
        return False
    return all(match.end() <= len(run) for match in _BEGUN_URL.finditer(run + following))


def _as_shown(run: str) -> str:
    """Undo what a reader of Markdown undoes: entities, backslashes, characters without a width."""
    visible = "".join(char for char in html.unescape(run) if unicodedata.category(char) != "Cf")
    return _ESCAPED.sub(r"\1", visible)
