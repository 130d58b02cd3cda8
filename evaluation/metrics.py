"""How good a ranking is: nDCG (Järvelin and Kekäläinen 2002, linear gain) and recall, at a depth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import log2
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Metrics:
    """Between 0 and 1, of one query or as the mean of several."""

    ndcg_10: float
    recall_5: float
    recall_10: float
    recall_50: float


def measure(ranking: Sequence[str], grades: Mapping[str, int]) -> Metrics:
    """Judge one ranking of document ids, best first, each once."""
    return Metrics(_ndcg(ranking, grades, 10), *(_recall(ranking, grades, depth) for depth in (5, 10, 50)))


def mean(measured: Iterable[Metrics]) -> Metrics:
    """Average over queries."""
    every = list(measured)
    return Metrics(*(fmean(getattr(one, field.name) for one in every) for field in fields(Metrics)))


def _ndcg(ranking: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    ideal = _gain(sorted(grades.values(), reverse=True)[:depth])
    return _gain([grades.get(document, 0) for document in ranking[:depth]]) / ideal if ideal else 0.0


def _gain(grades: Iterable[int]) -> float:
    return sum(grade / log2(place + 2) for place, grade in enumerate(grades))


def _recall(ranking: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    wanted = {document for document, grade in grades.items() if grade > 0}
    return len(wanted & set(ranking[:depth])) / len(wanted) if wanted else 0.0
