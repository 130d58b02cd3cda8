"""Metrics, by hand."""

from math import log2

import pytest

from evaluation.metrics import Metrics, mean, measure

GRADES = {"a": 2, "b": 1, "z": 0}


def test_the_ideal_ranking_scores_one() -> None:
    assert measure(["a", "b", "c"], GRADES) == Metrics(1.0, 1.0, 1.0, 1.0)


def test_places_are_discounted_and_gains_are_linear() -> None:
    ideal = 2 + 1 / log2(3)
    assert measure(["z", "b", "a"], GRADES).ndcg_10 == pytest.approx((1 / log2(3) + 2 / log2(4)) / ideal)


def test_recall_counts_what_is_within_the_depth() -> None:
    ranking = ["x1", "x2", "x3", "x4", "x5", "a", *(f"y{number}" for number in range(30)), "b"]
    found = measure(ranking, GRADES)
    assert (found.recall_5, found.recall_10, found.recall_50) == (0, 0.5, 1)


def test_a_mean_is_taken_of_each_metric() -> None:
    assert mean([Metrics(1, 1, 1, 1), Metrics(0, 0.5, 1, 1)]) == Metrics(0.5, 0.75, 1, 1)
