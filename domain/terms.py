"""The terms that keyword search compares: words of any script, folded and stemmed.

Where no space parts words, or as in Korean particles are written with them, they are bigrams. A term is a number, a hash of its text, so that no dictionary has to be kept. A chunk is stemmed in the language that
its function words tell. A question is too short to tell: each of its words stands for its stems in all languages of
the bot's documents, and those that no chunk has weigh nothing.
"""

# ruff: noqa: RUF001  (look-alike letters of other scripts are what this file is about)

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, islice
from math import log
from zlib import crc32

import regex
import Stemmer

from domain import languages
from domain.sentences import fold

SPACE = 1 << 28
"""Terms are numbers from 1 up to this one."""

# BM25 as Robertson and Zaragoza give it (2009), with the usual constants. The length that is neither long nor short
# is fixed, since a chunk is weighed once: that of a chunk of 1,000 characters. A word of the document's name counts
# as much as a word that stands in the text about once.
_K1 = 1.2
_B = 0.75
_USUAL_LENGTH = 130
_NAME_WEIGHT = 1.0
HIGHEST_WEIGHT = _K1 + 1 + _NAME_WEIGHT

_MOST_KNOWN = 1 << 16  # tokens whose terms are remembered, for each choice of languages
_MOST_QUESTION_TERMS = 256  # those that come first; a pasted page is no question

# Words, and those that a hyphen, point, slash or apostrophe joins, which are found whole and by their parts.
_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:[-.·/'’][\p{L}\p{M}\p{N}]+)*(?:\+\+|\#)?")
_PLAIN_TOKEN = re.compile(
    r"[^\W_]+(?:[-.·/'’][^\W_]+)*(?:\+\+|#)?"
)  # the same in text without marks, several times as fast
_FIRST_MARKED = "\u0300"  # combining marks, and the scripts that are written with them, are from here on
_JOINT = re.compile(r"[-.·/'’]|\+\+|#")
_MIXED = regex.compile(r"\p{L}\p{M}*(?=\p{N})|\p{N}(?=\p{L})")
_PART = regex.compile(r"\p{N}+|[\p{L}\p{M}]+")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+")
_MARK = regex.compile(r"\p{M}+")
_VOWELLED = regex.compile(r"[\p{Arabic}\p{Hebrew}]")
_ACCENTED = regex.compile(r"[\p{Latin}\p{Greek}\p{Cyrillic}]")
_ARABIC_FORMS = str.maketrans(
    {"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ـ": None}
)  # as they are typed, in Arabic and in Persian
# Hook, dot, horn, two marks over one letter, or a barred d: here accents tell words apart.
_VIETNAMESE = regex.compile(r"[\u0309\u0323\u031b]|[\u0302\u0306][\u0300\u0301\u0303]|đ")


@dataclass(frozen=True, slots=True)
class ChunkTerms:
    """What a chunk is found by: the weight of each term, above 0 and up to `HIGHEST_WEIGHT`."""

    language: str
    weights: Mapping[int, float]


def of_chunk(name: str, heading_path: Sequence[str], content: str) -> ChunkTerms:
    """Weigh the terms of a chunk under its headings, in a document of this name."""
    tokens = _tokens("\n".join((*heading_path, content)))
    language = languages.of_text(tokens)
    terms_of = _known_terms((language,))
    counts = Counter(chain.from_iterable(map(terms_of.__getitem__, tokens)))
    norm = _K1 * (1 - _B + _B * counts.total() / _USUAL_LENGTH)
    weights = {term: count * (_K1 + 1) / (count + norm) for term, count in counts.items()}
    for term in set(chain.from_iterable(map(terms_of.__getitem__, _tokens(name)))):
        weights[term] = weights.get(term, 0.0) + _NAME_WEIGHT
    return ChunkTerms(language, weights)


def of_question(text: str, bot_languages: Collection[str]) -> list[int]:
    """List what to look for, each term once, in the order of the question; at most 256."""
    return list(dict.fromkeys(chain.from_iterable(words_of_question(text, bot_languages))))


def words_of_question(text: str, bot_languages: Collection[str]) -> list[tuple[int, ...]]:
    """List the terms that stand for each word of a question, each word once; at most 256 terms.

    Function words are left out where there are others: a chunk that shares only them has nothing of the question.
    """
    terms_of = _known_terms(tuple(sorted({*bot_languages, languages.ENGLISH})))
    tokens = _tokens(text)
    language = languages.of_question(tokens)
    telling = [token for token in tokens if not languages.is_function_word(token, language)] or tokens
    found: dict[int, None] = {}
    words: list[tuple[int, ...]] = []
    for word in dict.fromkeys(map(terms_of.__getitem__, telling)):
        left = _MOST_QUESTION_TERMS - len(found)
        new = list(islice((term for term in dict.fromkeys(word) if term not in found), left))
        found.update(dict.fromkeys(new))
        kept = tuple(term for term in word if term in found)
        if kept:
            words.append(kept)
        if len(found) == _MOST_QUESTION_TERMS:
            break
    return words


def words(text: str) -> frozenset[str]:
    """List the words of a text as they are written, folded; bigrams where no space parts them."""
    return frozenset(_tokens(text))


def unspaced(text: str) -> float:
    """Tell which share of a text's letters stands in scripts that are cut into bigrams."""
    letters = sum(map(str.isalnum, text))
    return sum(len(run.group()) for run in _UNSPACED.finditer(text)) / letters if letters else 0.0


def rarity(having: int, chunks: int) -> float:
    """Weigh a term by how few of the chunks have it (inverse document frequency); never below 0."""
    return log(1 + (chunks - having + 0.5) / (having + 0.5))


def _tokens(text: str) -> list[str]:
    """Cut folded text into words; where no space parts them, into bigrams."""
    folded = fold(text)
    if folded.isascii() or max(folded, default="") < _FIRST_MARKED:
        return _PLAIN_TOKEN.findall(folded)
    tokens: list[str] = []
    at = 0
    for run in _UNSPACED.finditer(folded):
        tokens += _TOKEN.findall(folded, at, run.start())
        at, unspaced = run.end(), run.group()
        tokens += [unspaced[i : i + 2] for i in range(max(1, len(unspaced) - 1))]
    return tokens + _TOKEN.findall(folded, at)


class _Terms(dict[str, tuple[int, ...]]):
    """The terms of each token that was seen, in these languages."""

    def __init__(self, known: tuple[str, ...]) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, token: str) -> tuple[int, ...]:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        words = [token] if token.isalnum() else [*filter(None, _JOINT.split(token))]
        found = [term for word in words for term in self._of_word(word)]
        if words != [token]:
            found.append(_number(token))
        self[token] = terms = tuple(found)
        return terms

    def _of_word(self, word: str) -> list[int]:
        """Number a word's stems, and the parts of one that mixes letters and digits ("fy2018")."""
        if word.isdecimal():
            return [_number("".join(str(unicodedata.decimal(digit)) for digit in word))]  # of any script
        if word.isdigit() or _UNSPACED.match(word):
            return [_number(word)]
        spoken = [name for name in languages.of_script(word) if name in self._known or name not in languages.LATIN]
        stems = {_bare(_stem(word, language)) for language in spoken} or {_bare(word)}
        parts = _PART.findall(word) if _MIXED.search(word) else ()
        return [*map(_number, (*sorted(stems), *parts))]


_known_terms = lru_cache(maxsize=64)(_Terms)


def _stem(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(_MARK.sub("", word) if language == "arabic" else word))


@cache
def _stemmer(language: str) -> Stemmer.Stemmer:
    return Stemmer.Stemmer(language)


def _bare(word: str) -> str:
    """Take accents and vowel points away, which people write or leave out; Vietnamese keeps those that only it has."""
    if word.isascii():
        return word
    if _VOWELLED.search(word):
        return _MARK.sub("", word).translate(_ARABIC_FORMS)
    if not _ACCENTED.search(word):
        return word
    parted = unicodedata.normalize("NFD", word)
    return word if _VIETNAMESE.search(parted) else unicodedata.normalize("NFC", _MARK.sub("", parted))


def _number(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass")) % (SPACE - 1) + 1
