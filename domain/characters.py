"""Characters that no reader sees: left out of what a model reads and of what it answers."""

import regex

# Controls but tab and line feed: a terminal obeys them. Then what has no width or says how others are set:
# tags and variation selectors beyond the first sixteen spell whole texts that only a model reads, and marks of
# direction show letters in another order than they stand in.
_UNSEEN = regex.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Scripts and emoji need these, one at a time; a row of them is a code.
_JOINER = "\u061c\u200c-\u200f"
_SELECTOR = "\ufe00-\ufe0f"
_ROW = regex.compile(f"(?<=[{_JOINER}])[{_JOINER}]+|(?<=[{_SELECTOR}])[{_SELECTOR}]+")


def visible(text: str) -> str:
    """Leave out what no reader sees."""
    return _ROW.sub("", _UNSEEN.sub("", text))


class VisibleFilter:
    """Does the same to a stream; the output does not depend on where it was cut."""

    def __init__(self) -> None:
        self._last = ""

    def feed(self, text: str) -> str:
        """Take the next piece; answer what is left of it."""
        seen = self._last + _UNSEEN.sub("", text)
        shown = _ROW.sub("", seen)[len(self._last) :]
        self._last = seen[-1:]
        return shown
