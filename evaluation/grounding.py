"""How well a bot knows what it does not know: questions with an answer that it refuses, and others that it takes.

Questions of a set are asked of its own documents, of the other sets' documents, and, where the documents that answer
all lie in one half of the set, of its other half: the same language and kind, and nothing that answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from domain.filters import EVERYTHING, DocumentFilter
from domain.grounding import THRESHOLD, relevance
from domain.retrieval import SearchMode
from evaluation.product import Filled, Product
from evaluation.sets import EvaluationSet, Query

T = TypeVar("T")

MODES = (SearchMode.KEYWORD, SearchMode.VECTOR, SearchMode.HYBRID)
_OWN, _FOREIGN, _APART = 300, 40, 150  # questions of a set: to its own bot, to each other one, to its other half
_CANDIDATES = 50  # as a turn looks at
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_REFUSED = 0.02  # of the questions that have an answer, at most: a refusal costs more than a call of the model


@dataclass(frozen=True, slots=True)
class Asked:
    """How many questions were asked, and the share of them that was refused, or answered, wrongly."""

    questions: int
    wrong: float


@dataclass(frozen=True, slots=True)
class Grounding:
    """Of one set's questions in one mode."""

    refused: Asked
    """Questions that its documents answer."""
    answered: Asked
    """Questions that were asked of other sets' documents."""
    answered_apart: Asked
    """Questions that were asked of the half of its documents which does not answer them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How relevant the best hit was held to be, for each question of a set in one mode."""

    own: Sequence[float]
    foreign: Sequence[float]
    apart: Sequence[float]

    def at(self, threshold: float) -> Grounding:
        """Tell what goes wrong where what is less relevant is refused."""
        return Grounding(
            _wrong(each < threshold for each in self.own),
            _wrong(each >= threshold for each in self.foreign),
            _wrong(each >= threshold for each in self.apart),
        )


async def judge(
    running: Product, sets: Mapping[str, EvaluationSet], filled: Mapping[str, Filled]
) -> dict[str, dict[str, Judged]]:
    """Ask every set's questions where they have an answer and where they have none."""
    return {name: {mode.value: await _judge(running, name, sets, filled, mode) for mode in MODES} for name in sets}


async def _judge(
    running: Product, name: str, sets: Mapping[str, EvaluationSet], filled: Mapping[str, Filled], mode: SearchMode
) -> Judged:
    given = sets[name]
    own = [await _relevance(running, filled[name], query, mode) for query in some(given.queries, _OWN)]
    foreign = [
        await _relevance(running, filled[other], query, mode)
        for other in sets
        if not translated(given, sets[other])
        for query in some(given.queries, _FOREIGN)
    ]
    apart = [
        await _relevance(running, filled[name], query, mode, DocumentFilter(metadata={"half": 1 - half}))
        for query, half in some(halved(given), _APART)
    ]
    return Judged(own, foreign, apart)


async def _relevance(
    running: Product, bot: Filled, query: Query, mode: SearchMode, within: DocumentFilter = EVERYTHING
) -> float:
    hits, fluency = await running.search(bot, query.text, mode, limit=_CANDIDATES, within=within)
    return relevance(hits, mode, question=query.text, fluency=fluency)


def _wrong(judged: Iterable[bool]) -> Asked:
    every = list(judged)
    return Asked(len(every), sum(every) / len(every) if every else 0.0)


def some(items: Sequence[T], count: int) -> list[T]:
    """Choose this many, evenly spread, the same ones each time."""
    chosen = min(count, len(items))
    return [items[place * len(items) // chosen] for place in range(chosen)]


def translated(given: EvaluationSet, other: EvaluationSet) -> bool:
    """Tell whether the other set has the same questions and documents, as a translation has, or is the set itself."""
    ours, theirs = _judged(given), _judged(other)
    return 2 * len(ours & theirs) > min(len(ours), len(theirs))


def _judged(given: EvaluationSet) -> set[tuple[str, str]]:
    return set(chain.from_iterable(((query.id, document) for document in query.grades) for query in given.queries))


def halved(given: EvaluationSet) -> list[tuple[Query, int]]:
    """List the questions whose answers all lie in one half of the documents, and which half that is."""
    half_of = {document.id: half for half, documents in enumerate(given.halves) for document in documents}
    found = []
    for query in given.queries:
        halves = {half_of.get(document) for document in query.answers}
        if len(halves) == 1 and (half := halves.pop()) is not None:
            found.append((query, half))
    return found


def grounding_table(judged: Mapping[str, Mapping[str, Judged]]) -> str:
    """Write Markdown: a row for each set and mode, at the threshold that bots have."""
    lines = [
        "| set | mode | false refusals | false answers, other sets | false answers, other half |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {mode} | {_cells(found.at(THRESHOLD))} |"
        for name, modes in judged.items()
        for mode, found in modes.items()
    ]
    return _table(lines)


def calibration_table(judged: Mapping[str, Mapping[str, Judged]]) -> str:
    """Write Markdown: what goes wrong in hybrid mode at each threshold, and the one to choose by these sets."""
    hybrid = [modes[SearchMode.HYBRID] for modes in judged.values()]
    every = Judged(*(list(chain.from_iterable(part)) for part in zip(*map(_parts, hybrid), strict=True)))
    lines = [
        "| threshold | false refusals | of the worst set | false answers, other sets | false answers, other half |",
        "|---|---|---|---|---|",
    ]
    for threshold in THRESHOLDS:
        found = every.at(threshold)
        worst = max(each.at(threshold).refused.wrong for each in hybrid)
        lines.append(
            f"| {threshold} | {_cell(found.refused)} | {worst:.3f}"
            f" | {_cell(found.answered)} | {_cell(found.answered_apart)} |"
        )
    chosen = calibrated(every)
    said = "None of them" if chosen is None else f"{chosen}"
    return f"{_table(lines)}\n\n{said} is the highest at which one in fifty questions that have an answer is refused, or fewer."


def calibrated(judged: Judged) -> float | None:
    """Choose the highest threshold that refuses few enough questions which have an answer."""
    return max((each for each in THRESHOLDS if judged.at(each).refused.wrong <= _REFUSED), default=None)


def _parts(judged: Judged) -> tuple[Sequence[float], ...]:
    return judged.own, judged.foreign, judged.apart


def _table(lines: Sequence[str]) -> str:
    return "\n".join(line.replace("|  |", "| |") for line in lines)


def _cells(found: Grounding) -> str:
    return " | ".join(map(_cell, (found.refused, found.answered, found.answered_apart)))


def _cell(asked: Asked) -> str:
    return f"{asked.wrong:.3f} of {asked.questions}" if asked.questions else ""
