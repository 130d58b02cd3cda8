"""Sentences and words of text in any script, as spans and as comparable tokens."""
# ruff: noqa: RUF001  (look-alike punctuation of other scripts is what this file is about)

import unicodedata

import regex

_HARD_END = "。！？｡．।॥؟۔։។။"
_END = regex.compile(
    rf"""
    (?: [{_HARD_END}]+ [\p{{Pe}}\p{{Pf}}"'」』]* \s*         # scripts whose full stop needs no space after it
      | [.!?…]+ [\p{{Pe}}\p{{Pf}}"'”’]* (?:\[\d+\])* \s+ (?=[^\p{{Ll}}])   # a full stop, then anything but a small letter
      | \s* \n \s* \n \s*                                    # a blank line
      | \s* \n \s* (?=[-*•‣◦#|]|\d{{1,3}}[.)]\s)              # the next item of a list, a heading, a row
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
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}]+)*")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+")


def fold(text: str) -> str:
    """Bring text to the form in which spellings compare: NFKC and case-folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Cut into sentences, without the white space around them; every other character is in one span."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        if _is_abbreviation(text, match.start()):
            continue
        _add(spans, text, start, match.end())
        start = match.end()
    _add(spans, text, start, len(text))
    return spans


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
