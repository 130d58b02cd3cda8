"""Citations: the markers of a finished answer, each checked against the passage that it names."""
# ruff: noqa: RUF001  (look-alike punctuation of other scripts is what this file is about)

import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter

import regex

from domain.ids import ChunkId, DocumentId
from domain.markers import LONGEST_MARKER, MARKER, CodeSpans, numbers_of
from domain.model import Model
from domain.retrieval import Passage
from domain.sentences import sentence_spans, title_ends, tokens


class Citation(Model):
    """One checked reference from an answer to a chunk.

    `quote` is the chunk's own text: characters `char_start` to `char_end` of its document's text.
    """

    marker: int
    document_id: DocumentId
    document_name: str
    chunk_id: ChunkId
    page: int | None
    quote: str
    score: float
    char_start: int | None = None
    char_end: int | None = None


_Sentence = tuple[int, int, frozenset[str]]
"""Where it begins and ends, and its words."""

_CLOSING = {
    '"': '"', "＂": "＂", "”": "“„”", "“": "„", "»": "«»", "«": "»", "」": "「", "』": "『", "〞": "〝", "〟": "〝",
}  # fmt: skip
_AFTER_QUOTE = " \t\r\n\u00a0\u202f.,;:!?…)、。，．；：！？）"
# A person reads these; the bounds keep an answer that was made to be slow from holding its conversation up.
_QUOTE_REACH = 2000
_NEAREST_OPENINGS = 8
_MOST_MARKERS = 200
_MOST_PLACES = 1000
_MOST_FOLDED = 200_000
_SAME = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼ′`´", "'"),
        **dict.fromkeys("“”„‟«»″＂「」『』〝〞〟", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
    }
)
_EDGES = " .,;:!?…'\"-、。，；：！？"
_GRAPHEME = regex.compile(r"\X")
_FIRST_UNSPACED = "\u2e80"  # from here on scripts are written without spaces, or may be
_LAST_SPACED = "\u0590"  # up to here (Latin, Greek, Cyrillic, Armenian) a quotation must begin and end at a word's edge


@dataclass(frozen=True, slots=True)
class _Folded:
    """Text in the form that quotations compare in; `starts[i]`, `ends[i]` are where it came from."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def _fold(text: str) -> _Folded:
    """Fold case, compatibility forms, quotation marks and white space; leave `[7]` and invisible characters out."""
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end, unit in _units(text):
        for char in unit:
            if char == " " and (not chars or chars[-1] == " "):
                continue
            if chars and chars[-1] == " " and _joins(chars, char):
                chars.pop(), starts.pop(), ends.pop()
            chars.append(char)
            starts.append(start)
            ends.append(end)
    return _Folded("".join(chars), tuple(starts), tuple(ends))


def _units(text: str) -> Iterator[tuple[int, int, str]]:
    at = 0
    for marker in MARKER.finditer(text):
        yield from _graphemes(text, at, marker.start())
        at = marker.end()
    yield from _graphemes(text, at, len(text))


def _graphemes(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    for match in _GRAPHEME.finditer(text, start, end):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", match.group()).casefold())
        unit = "".join(
            " " if char.isspace() else char for char in folded.translate(_SAME) if unicodedata.category(char) != "Cf"
        )
        yield match.start(), match.end(), unit


def _joins(chars: list[str], char: str) -> bool:
    return char >= _FIRST_UNSPACED or (len(chars) > 1 and chars[-2] >= _FIRST_UNSPACED)


class _Folds:
    """Folds each text once. Where `_MOST_FOLDED` characters are spent, every other text folds to nothing."""

    def __init__(self) -> None:
        self._left = _MOST_FOLDED
        self._known: dict[str, _Folded] = {}

    def of(self, text: str) -> _Folded:
        if text not in self._known:
            folded = self._known[text] = _fold(text) if self._left > 0 else _Folded("", (), ())
            self._left -= max(len(text), len(folded.text))  # some characters fold to none, and some to eighteen
        return self._known[text]


def verify(answer: str, passages: Sequence[Passage]) -> list[Citation]:
    """List the citations that hold, in order of appearance, each marker once per distinct quote.

    A quotation right before a marker must occur in that passage, or the citation is dropped. So it is where an
    answer's quotations and their passages have more than `_MOST_FOLDED` characters before: it is not looked for.
    Without a quotation the quote is the passage's sentence that shares most with the claim.
    """
    by_marker = {passage.marker: passage for passage in passages}
    folds = _Folds()
    sentences: dict[int, list[_Sentence]] = {}
    found: dict[tuple[int, str], Citation] = {}
    for end, numbers in _cited(answer, by_marker):
        openings = _openings(answer, end)
        claim = frozenset[str]() if openings else frozenset(tokens(_claim(answer, end)))
        for number in numbers:
            passage = by_marker[number]
            if openings:
                span = _quoted(answer, openings, end, passage.content, folds)
            else:
                if number not in sentences:
                    sentences[number] = _sentences(passage.content)
                span = _supporting(claim, sentences[number])
            if span is not None:
                citation = _citation(passage, *span)
                found.setdefault((number, citation.quote), citation)
    return list(found.values())


def _citation(passage: Passage, start: int, end: int) -> Citation:
    base = passage.char_start
    return Citation(
        marker=passage.marker,
        document_id=passage.document_id,
        document_name=passage.document_name,
        chunk_id=passage.chunk_at(start),
        page=passage.page_at(start),
        quote=passage.content[start:end],
        score=passage.score,
        char_start=None if base is None else base + start,
        char_end=None if base is None else base + end,
    )


def _markers(answer: str) -> list[regex.Match[str]]:
    code = CodeSpans()
    in_code = [code.feed(char) for char in answer]
    return [match for match in MARKER.finditer(answer) if not in_code[match.start()]]


def _cited(answer: str, known: Collection[int]) -> Iterator[tuple[int, list[int]]]:
    """Give where each text that is cited ends, and the known numbers of all markers after it, each once."""
    cited = ((end, number) for end, group in _ends(answer) for number in numbers_of(group) if number in known)
    for end, pairs in groupby(islice(cited, _MOST_MARKERS), itemgetter(0)):
        yield end, list(dict.fromkeys(number for _, number in pairs))


def _ends(answer: str) -> Iterator[tuple[int, str]]:
    """Give each marker with where the text ends that it stands after; markers in a row share one."""
    last = end = 0
    for match in _markers(answer):
        before = _before(answer, match.start(), last)
        end = before if before > last else end
        last = match.start()
        yield end, match.group()


def _before(answer: str, at: int, floor: int) -> int:
    """Walk back over white space, punctuation and other markers, to `floor` at most; answer where the text ends."""
    while True:
        end = floor + len(answer[floor:at].rstrip(_AFTER_QUOTE))
        group = regex.search(r"\[[\d ,;，、\t]+\]$", answer[max(floor, end - LONGEST_MARKER) : end])
        if group is None:
            return end
        at = end - len(group.group())


def _openings(answer: str, end: int) -> list[int]:
    """List where the quotation that ends at `end` may open, the longest first."""
    opening = _CLOSING.get(answer[end - 1]) if end else None
    if opening is None:
        return []
    close = end - 1
    reach = max(0, close - _QUOTE_REACH)
    floor = max(reach, answer.rfind("\n\n", reach, close))
    starts = [start for start in range(floor, close) if answer[start] in opening][-_NEAREST_OPENINGS:]
    return [start for start in starts if _is_quotation(answer[start + 1 : close], answer[start], answer[close])]


def _is_quotation(inner: str, opened: str, closed: str) -> bool:
    if not inner.strip(_EDGES):
        return False
    if opened == closed:  # the mark does not tell opening from closing; what follows it does
        return inner.count(opened) % 2 == 0 and not inner[0].isspace()
    return inner.count(opened) == inner.count(closed)


def _quoted(answer: str, openings: Sequence[int], end: int, content: str, folds: _Folds) -> tuple[int, int] | None:
    inner = openings[0] + 1  # the shorter ones are ends of the longest, folded as well
    longest, folded = folds.of(answer[inner : end - 1]), folds.of(content)
    for opening in openings:
        wanted = longest.text[bisect_left(longest.starts, opening + 1 - inner) :].strip(_EDGES)
        for at in islice(_places(folded.text, wanted), _MOST_PLACES):
            start, stop = folded.starts[at], folded.ends[at + len(wanted) - 1]
            if not _inside_word(content, start) and not _inside_word(content, stop):
                return start, stop
    return None


def _places(text: str, wanted: str) -> Iterator[int]:
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


def _inside_word(content: str, at: int) -> bool:
    return 0 < at < len(content) and all(char.isalnum() and char < _LAST_SPACED for char in content[at - 1 : at + 1])


def _claim(answer: str, end: int) -> str:
    before = MARKER.sub(" ", answer[max(0, end - _QUOTE_REACH) : end])
    spans = sentence_spans(before)
    return before[slice(*spans[-1])] if spans else ""


def _sentences(content: str) -> list[_Sentence]:
    titles = set(title_ends(content))  # of few words, so that any in common would outweigh a sentence
    spans = [(start, end) for start, end in sentence_spans(content) if end not in titles]
    return [(start, end, frozenset(tokens(content[start:end]))) for start, end in spans]


def _supporting(wanted: frozenset[str], sentences: Sequence[_Sentence]) -> tuple[int, int] | None:
    best: tuple[int, int] | None = None
    best_score = -1.0
    for start, end, has in sentences:
        score = len(wanted & has) / (len(wanted) * len(has)) ** 0.5 if wanted and has else 0.0
        if score > best_score:
            best, best_score = (start, end), score
    return best
