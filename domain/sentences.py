"""Sentences and words of text in any script, as spans and as comparable tokens."""
# ruff: noqa: RUF001  (look-alike punctuation of other scripts is what this file is about)

import unicodedata

import regex

_HARD_END = "。！？｡．।॥؟۔։។။"
_END = regex.compile(
    rf"""
    (?: [{_HARD_END}]+ [\p{{Pe}}\p{{Pf}}"'」』]* \s*         # scripts whose full stop needs no space after it
      | (?<![.!?…]) [.!?…]++ [\p{{Pe}}\p{{Pf}}"'”’]* (?:\[\d+\])* \s+ (?=[^\p{{Ll}}])   # then anything but a small letter
      | \n \s* \n \s*                                        # a blank line
      | \n \s* (?=[-*•‣◦#|]|\d{{1,3}}[.)]\s)                  # the next item of a list, a heading, a row
    )
    """,
    regex.VERBOSE,
)
_ABBREVIATION = regex.compile(
    r"(?<![\p{L}\p{N}])(?:\p{Lu}|[dm]rs?|ms|prof|st|vs|no|nr|art|sec|fig|eq|vol|pp?|ca|bzw|usw|etc|e\.g|i\.e|z\.b|d\.h|u\.a"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|approx|inc|ltd|co|corp|jr|sr|al|cf|p\.ex|av|sra?|dra?)$",
    regex.IGNORECASE,
)
_LONGEST_ABBREVIATION = 12
_LONGEST_TITLE = 60
# A title begins large, holds no comma, and ends with a word that no phrase breaks after: "of", "the", "und" are short.
_TITLE = regex.compile(r"[\p{Lu}\p{Lt}\p{N}][^,;]*(?<=\p{Pe}|\b[\p{Lu}\p{Lt}\p{N}][\p{L}\p{M}\p{N}]*|[\p{L}\p{M}]{4})")
_LARGE = regex.compile(r"[\p{Pi}\p{Ps}\"']?[\p{Lu}\p{Lt}]")
_SENTENCE_ENDS = regex.compile(rf"(?:[.!?…:]|[{_HARD_END}])[\p{{Pe}}\p{{Pf}}\"']*(?:\[\d+\])*$")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}]+)*")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+")


def fold(text: str) -> str:
    """Bring text to the form in which spellings compare: NFKC and case-folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Cut into sentences, without the white space around them; every other character is in one span."""
    spans: list[tuple[int, int]] = []
    start = 0
    ends = {match.end() for match in _END.finditer(text) if not _is_abbreviation(text, match.start())}
    for end in sorted(ends.union(title_ends(text), [len(text)])):
        _add(spans, text, start, end)
        start = end
    return spans


def title_ends(text: str) -> list[int]:
    """Find lines that are titles right above their text, as PDFs give them; answers where each ends.

    A line that wraps is full: the next word would not have fitted. So a line is taken for a title only where a
    sentence cannot go on over its end: it begins one and reads as a title, the next line begins large, and the
    text below is more than half as wide again.
    """
    found = regex.finditer(r"[^\n]+|(?<=\n)(?=\n)", text)
    lines = [(match.start() + len(match.group().rstrip()), match.group().strip()) for match in found]
    titled, width = [False] * len(lines), 0
    for number in range(len(lines) - 2, -1, -1):
        line, below = lines[number][1], lines[number + 1][1]
        width = width if titled[number + 1] else len(below)
        titled[number] = len(line) * 3 < width * 2 and _LARGE.match(below) is not None and _may_be_title(line)
    ends, begins = list[int](), True
    for (end, line), title in zip(lines, titled, strict=True):
        if begins and title:
            ends.append(end)
        else:
            begins = not line or _SENTENCE_ENDS.search(line) is not None
    return ends


def _may_be_title(line: str) -> bool:
    return len(line) <= _LONGEST_TITLE and _TITLE.fullmatch(line) is not None


def _is_abbreviation(text: str, stop: int) -> bool:
    before = text[max(0, stop - _LONGEST_ABBREVIATION) : stop]
    return text[stop] == "." and _ABBREVIATION.search(before) is not None


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left < len(piece):
        spans.append((start + left, start + len(piece.rstrip())))


def tokens(text: str) -> list[str]:
    """List the words, folded; scripts without spaces give overlapping pairs of characters."""
    found: list[str] = []
    for word in _WORD.findall(fold(text)):
        end = 0
        for run in _UNSPACED.finditer(word):
            if run.start() > end:
                found.append(word[end : run.start()])
            piece = run.group()
            found.extend(piece[i : i + 2] for i in range(max(1, len(piece) - 1)))
            end = run.end()
        if end < len(word):
            found.append(word[end:])
    return found
