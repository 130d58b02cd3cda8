"""Markers `[1]` of an answer: found, and filtered while the answer streams."""
# ruff: noqa: RUF001  (look-alike punctuation of other scripts is what this file is about)

from collections.abc import Set

import regex

# One marker or a group: [1], [1, 7], [ 1; 2 ]. Five digits are a number, not a marker.
MARKER = regex.compile(r"\[[ \t]?\d{1,4}(?:[ \t]?[,;，、][ \t]?\d{1,4})*[ \t]?\]")
LONGEST_MARKER = 80
_NUMBER = regex.compile(r"\d+")


class CodeSpans:
    """Says of each character whether it is in Markdown code, where brackets are no markers."""

    def __init__(self) -> None:
        self._ticks = 0
        self._fence = False
        self._inline = False

    def feed(self, char: str) -> bool:
        if char == "`":
            self._ticks += 1
            return True
        if self._ticks:
            self._toggle()
        if char == "\n":
            self._inline = False  # a backtick that nobody closed reaches to the end of its line
        return self._fence or self._inline

    def _toggle(self) -> None:
        if self._ticks >= 3:
            self._fence = not self._fence
            self._inline = False
        elif not self._fence:
            self._inline = not self._inline
        self._ticks = 0


class MarkerFilter:
    """Removes markers that were not given from a stream, and writes each given one as `[n]`.

    Text is held back from a `[`, and the white space before it, until it is decided. The output
    does not depend on where the stream was cut.
    """

    def __init__(self, known: Set[int]) -> None:
        self._known = known
        self._space = ""
        self._held = ""
        self._code = CodeSpans()

    def feed(self, text: str) -> str:
        """Take the next piece; answer what is decided."""
        return "".join(self._decide(char) for char in text)

    def finish(self) -> str:
        """Answer what is still held back, at the end of the stream."""
        return self._release()

    def _decide(self, char: str) -> str:
        code = self._code.feed(char)
        if self._held:
            return self._continue(char, code)
        if char == "[" and not code:
            self._held = char
            return ""
        if char.isspace() and char not in "\r\n" and not code:
            self._space += char
            return ""
        return self._release() + char

    def _continue(self, char: str, code: bool) -> str:
        candidate = self._held + char
        if char == "]" and MARKER.fullmatch(candidate):
            return self._close(candidate)
        if len(candidate) < LONGEST_MARKER and MARKER.fullmatch(candidate, partial=True):
            self._held = candidate
            return ""
        released = self._release()
        if char == "[" and not code:
            self._held = char
            return released
        if char.isspace() and char not in "\r\n" and not code:
            self._space = char
            return released
        return released + char

    def _close(self, group: str) -> str:
        self._held = ""
        kept = "".join(f"[{number}]" for number in numbers_of(group) if number in self._known)
        released = self._space + kept if kept else ""
        self._space = ""
        return released

    def _release(self) -> str:
        released = self._space + self._held
        self._space = self._held = ""
        return released


def numbers_of(group: str) -> list[int]:
    """Give a group's numbers, in its order."""
    return [int(number) for number in _NUMBER.findall(group)]
