"""Which questions are asked of documents that do not answer them."""

from domain.grounding import THRESHOLD
from evaluation.grounding import Judged, calibrated, calibration_table, grounding_table, halved, some, translated
from evaluation.sets import Document, EvaluationSet, Query


def a_set(name: str, answers: dict[str, dict[str, int]], documents: str = "abcd") -> EvaluationSet:
    return EvaluationSet(
        name,
        tuple(Document(document, "", f"Text {document}.") for document in documents),
        tuple(Query(query, f"Question {query}?", grades) for query, grades in answers.items()),
    )


def test_a_set_is_cut_in_two_where_its_documents_lie() -> None:
    first, second = a_set("set", {}, "abcde").halves
    assert ([each.id for each in first], [each.id for each in second]) == (["a", "b", "c"], ["d", "e"])


def test_a_question_is_asked_of_the_other_half_only_where_all_its_answers_lie_in_one() -> None:
    given = a_set("set", {"1": {"a": 1, "b": 2}, "2": {"d": 1, "a": 0}, "3": {"a": 1, "d": 1}, "4": {"gone": 1}})
    assert [(query.id, half) for query, half in halved(given)] == [("1", 0), ("2", 1)]


def test_a_set_and_its_translation_answer_each_others_questions() -> None:
    english = a_set("en", {"1": {"a": 1}, "2": {"b": 1}})
    assert translated(english, english)
    assert translated(english, a_set("de", {"1": {"a": 1}, "2": {"b": 1}, "3": {"c": 1}}))
    assert not translated(english, a_set("other", {"1": {"x": 1}, "2": {"y": 1}}))


def test_questions_are_chosen_evenly_and_the_same_ones_each_time() -> None:
    assert some(range(10), 4) == [0, 2, 5, 7]
    assert some("ab", 4) == ["a", "b"]
    assert some("", 4) == []


def test_a_share_of_nothing_is_left_open_in_the_table() -> None:
    table = grounding_table({"set": {"hybrid": Judged([0.9, 0.1, 0.9, 0.9], [], [THRESHOLD, 0.0])}})
    assert table.splitlines()[-1] == "| set | hybrid | 0.250 of 4 | | 0.500 of 2 |"


def test_the_highest_threshold_is_chosen_that_refuses_one_in_fifty_at_most() -> None:
    answerable = [0.21] + [0.9] * 49
    assert calibrated(Judged(answerable, [], [])) == 0.5
    assert calibrated(Judged([0.21, *answerable], [], [])) == 0.2
    assert calibrated(Judged([0.0, 0.0], [], [])) is None


def test_the_calibration_is_of_all_sets_together_and_tells_of_the_worst() -> None:
    fine, poor = Judged([0.9, 0.9, 0.9], [0.3], [0.0]), Judged([0.12], [0.0], [])
    table = calibration_table({"fine": {"hybrid": fine}, "poor": {"hybrid": poor}})
    assert "| 0.1 | 0.000 of 4 | 0.000 | 0.500 of 2 | 0.000 of 1 |" in table
    assert "| 0.4 | 0.250 of 4 | 1.000 | 0.000 of 2 | 0.000 of 1 |" in table
    assert table.endswith(
        "\n\n0.1 is the highest at which one in fifty questions that have an answer is refused, or fewer."
    )
