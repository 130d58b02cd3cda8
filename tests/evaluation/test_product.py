"""Two documents through the whole of it: imported, embedded on this machine, searched, judged."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from domain.grounding import THRESHOLD
from domain.ids import BotId
from evaluation.__main__ import evaluate, table
from evaluation.grounding import Asked
from evaluation.product import Filled, product
from evaluation.sets import Document, EvaluationSet, Query, read_sets


async def test_a_small_set_goes_through_the_product(tmp_path: Path) -> None:
    rows = [
        {"_id": "w", "title": "Warranty", "text": "The warranty of the lamp lasts two years."},
        {"_id": "o", "title": "", "text": "The office is closed on Sundays and on public holidays."},
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "How long is the warranty?"}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tw\t1\n")
    found = await evaluate(read_sets(tmp_path))
    assert {mode: metrics.ndcg_10 for mode, metrics in found.retrieval[tmp_path.name].items()} == {
        "keyword": 1, "vector": 1, "hybrid": 1,
    }  # fmt: skip
    assert "+0.000" in table(found.retrieval)
    assert found.passages[tmp_path.name]["as ranked"].recall == 1
    assert found.passages[f"{tmp_path.name}, twice"]["both, as is the default"].recall == 1
    hybrid = found.grounding[tmp_path.name]["hybrid"].at(THRESHOLD)
    assert (hybrid.refused, hybrid.answered, hybrid.answered_apart) == (Asked(1, 0.0), Asked(0, 0.0), Asked(1, 0.0))


def test_a_row_is_ranked_once_and_the_question_itself_only_where_it_was_judged() -> None:
    first, second, third = map(UUID, ("1" * 32, "2" * 32, "3" * 32))
    filled = Filled(BotId(first), {first: ["q"], second: ["a", "b"], third: ["a"]})
    query = Query("q", "Why?", {"a": 1})
    assert filled.ranked(query, [first, second, third, first]) == ["a", "b"]
    assert filled.ranked(Query("q", "Why?", {"q": 0}), [first, second]) == ["q", "a", "b"]


async def test_rows_that_are_not_ready_are_named_with_their_errors(capsys: pytest.CaptureFixture[str]) -> None:
    documents = (
        Document("fine", "", "A lamp."),
        Document("broken", "", "%PDF-1.4"),
        Document("binary", "", "A lamp\0."),
    )
    async with product() as running:
        await running.fill(EvaluationSet("long name " * 20, documents, ()))
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in said] == [
        "1 of 2, first broken (corrupt_file)",
        "1 of 1, first binary (unsupported_format)",
    ]
