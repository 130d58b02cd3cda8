"""What is judged of passages."""

from evaluation.passages import VARIANTS, Given, passages_table, with_copies
from evaluation.sets import Document, EvaluationSet, Query


def test_a_draft_counts_as_its_document() -> None:
    given = EvaluationSet("set", (Document("a", "Title", "x" * 100),), (Query("1", "Why?", {"a": 1}),))
    copied = with_copies(given)
    assert (copied.name, [each.id for each in copied.documents]) == ("set, twice", ["a", "a"])
    assert copied.documents[1].text == "Draft. " + "x" * 95


def test_the_table_has_a_row_for_each_set() -> None:
    table = passages_table({"set": dict.fromkeys(VARIANTS, Given(0.5, 1234.4))})
    assert table.splitlines()[-1] == "| set |" + " 0.500, 1,234 tokens |" * len(VARIANTS)
