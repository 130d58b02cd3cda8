"""Sets in BEIR's layout are read as they are, and what is none says where."""

import json
from pathlib import Path

import pytest

from evaluation.sets import find_sets, read_set


def a_set(folder: Path, judgements: str = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n") -> Path:
    folder.mkdir(parents=True)
    rows = [
        {"_id": "d1", "title": "Lamps", "text": "A lamp."},
        {"_id": "d2", "text": "A saw."},
        {"_id": "d3", "text": " "},
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [{"_id": "q1", "text": "lamp?"}, {"_id": "q2", "text": "nobody judged this"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text(judgements)
    return folder


def test_a_set_is_read_without_empty_documents_and_questions_that_nothing_answers(tmp_path: Path) -> None:
    given = read_set(a_set(tmp_path / "tools"))
    assert given.name == "tools"
    assert [document.content for document in given.documents] == ["Lamps\n\nA lamp.", "A saw."]
    assert [(query.id, query.grades) for query in given.queries] == [("q1", {"d1": 2, "d2": 0})]


def test_questions_whose_answers_are_not_in_the_corpus_are_left_out(tmp_path: Path) -> None:
    given = read_set(a_set(tmp_path / "tools", "q1\td1\t1\nq2\td3\t1\nq2\tgone\t1\n"))
    assert [query.id for query in given.queries] == ["q1"], "d3 has no text"


def test_judgements_are_found_where_beir_puts_them(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "tools")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    assert read_set(folder).queries[0].grades == {"d1": 2, "d2": 0}


@pytest.mark.parametrize("line", ["{", "[]", '{"_id": "d1"}', '{"_id": "d1", "text": null}'])
def test_rows_that_are_none_are_named(tmp_path: Path, line: str) -> None:
    folder = a_set(tmp_path / "tools")
    (folder / "corpus.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=r"corpus\.jsonl:2: a JSON object"):
        read_set(folder)


def test_trecs_four_columns_are_read_too(tmp_path: Path) -> None:
    given = read_set(a_set(tmp_path / "tools", "q1\t0\td1\t1\n"))
    assert given.queries[0].grades == {"d1": 1}


@pytest.mark.parametrize("judgements", ["q1\td1\n", "query-id\tcorpus-id\tscore\nq1\td1\tgood\n"])
def test_judgements_that_are_none_are_named(tmp_path: Path, judgements: str) -> None:
    with pytest.raises(ValueError, match=r"qrels\.tsv:\d+"):
        read_set(a_set(tmp_path / "tools", judgements))


def test_a_folder_of_sets_and_a_set_are_both_found(tmp_path: Path) -> None:
    one, two = a_set(tmp_path / "one"), a_set(tmp_path / "two")
    assert find_sets(tmp_path) == [one, two]
    assert find_sets(two) == [two]
