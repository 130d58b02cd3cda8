"""Text PDFs of a known size, the same on every machine."""

import itertools
from collections.abc import Iterator

from tests.pdf_files import a_pdf

PAGE_CHARACTERS = 2143  # 300 pages make 643,000 characters, as in the design's measurements
_LINE = 90
_WORDS = [
    "contract",
    "delivery",
    "invoice",
    "payment",
    "warranty",
    "service",
    "provider",
    "customer",
    "notice",
    "period",
    "annual",
    "report",
    "revenue",
    "margin",
    "policy",
    "coverage",
    "premium",
    "claim",
    "assessment",
    "schedule",
    "maintenance",
    "inspection",
    "valve",
    "pressure",
    "temperature",
    "reading",
    "limit",
    "committee",
    "resolution",
    "chapter",
    "section",
    "paragraph",
    "definition",
    "liability",
    "damages",
    "insurance",
    "territory",
    "jurisdiction",
    "law",
    "method",
    "sample",
    "result",
    "figure",
    "average",
    "deviation",
    "hypothesis",
    "experiment",
    "observation",
    "conclusion",
    "reference",
    "appendix",
]


def pdf(pages: int, *, seed: int = 0) -> bytes:
    """A PDF of running sentences; two seeds never give the same text."""
    return a_pdf([_page(number, seed) for number in range(pages)])


def _page(number: int, seed: int) -> str:
    state = (seed * 1_000_003 + number) * 2_654_435_761 + 12_345
    words = [f"Document {seed} page {number + 1}."]
    length, sentence = len(words[0]), 0
    while length < PAGE_CHARACTERS:
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 64)
        word = _WORDS[(state >> 33) % len(_WORDS)]
        sentence += 1
        word = word.capitalize() if sentence == 1 else word
        if sentence == 14:
            word, sentence = f"{word}.", 0
        words.append(word)
        length += len(word) + 1
    return "\n".join(_lines(words))


def _lines(words: list[str]) -> list[str]:
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > _LINE:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def questions() -> Iterator[str]:
    """Questions whose words occur."""
    return itertools.cycle(f"What does the {a} say about {b}?" for a, b in itertools.pairwise(_WORDS))
