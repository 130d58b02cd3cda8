"""The word that fences data off in a prompt: kept out of the answer, whatever the model was talked into."""


class BoundaryFilter:
    """Takes a word out of a stream, in letters of either case.

    The beginning of the word is held back until it is decided. The output does not depend on where the stream was cut.
    """

    def __init__(self, word: str) -> None:
        self._word = word.lower()
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; answer what is decided."""
        if not self._held and self._word[:1] not in text.lower():  # most pieces: the word cannot begin in them
            return text
        return "".join(self._decide(char) for char in text) if self._word else text

    def finish(self) -> str:
        """Answer what is still held back, at the end of the stream."""
        held, self._held = self._held, ""
        return held

    def _decide(self, char: str) -> str:
        self._held += char
        if self._held.lower() == self._word:
            self._held = ""
            return " "  # nothing in its place would join what stands around it, to the word itself perhaps
        passed = 0
        while not self._word.startswith(self._held[passed:].lower()):
            passed += 1
        shown, self._held = self._held[:passed], self._held[passed:]
        return shown
