"""Sets in BEIR's layout are read as they are, and what is none says where."""

import json
from pathlib import Path

import pytest

from evaluation.metrics import measure
from evaluation.sets import find_sets, read_set, read_sets


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


def write_rows(path: Path, *rows: dict[str, object]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)))


def test_a_row_that_has_a_title_alone_is_a_document_too(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "tools")
    write_rows(folder / "corpus.jsonl", {"_id": "d1", "title": "Lamps", "text": ""}, {"_id": "d2", "text": "\0"})
    assert [document.content for document in read_set(folder).documents] == ["Lamps"]


def test_what_no_file_of_text_can_hold_is_left_out_of_titles_and_texts(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "tools")
    write_rows(folder / "corpus.jsonl", {"_id": "d1", "title": "Lam\0ps", "text": "A\0 lamp \ud800."})
    write_rows(folder / "queries.jsonl", {"_id": "q1", "text": "la\0mp?"})
    given = read_set(folder)
    assert ([each.content for each in given.documents], given.queries[0].text) == (["Lamps\n\nA lamp ?."], "lamp?")


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", '{"_id": "d1"}', '{"_id": "d1", "text": null}', '{"_id": null, "text": "A lamp."}',
        '{"_id": "d1", "title": 7, "text": "A lamp."}',
    ],
)  # fmt: skip
def test_rows_that_are_none_are_named(tmp_path: Path, line: str) -> None:
    folder = a_set(tmp_path / "tools")
    (folder / "corpus.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=r"corpus\.jsonl:2: a JSON object"):
        read_set(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_an_id_that_two_rows_have_is_named(tmp_path: Path, name: str) -> None:
    folder = a_set(tmp_path / "tools")
    write_rows(folder / name, {"_id": 1, "text": "A lamp."}, {"_id": "1", "text": "A saw."})
    with pytest.raises(ValueError, match=rf"{name}:2: .* 1\b"):
        read_set(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path, name: str) -> None:
    folder = a_set(tmp_path / "tools")
    (folder / name).write_bytes(b"\n\xff\n")
    with pytest.raises(ValueError, match=rf"{name}:2: .*UTF-8"):
        read_set(folder)


def test_a_corpus_without_a_text_and_questions_without_an_answer_are_no_set(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "tools", "q1\tgone\t1\nq2\td1\t-1\n")
    with pytest.raises(ValueError, match="no question has an answer in the corpus"):
        read_set(folder)
    (folder / "corpus.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"corpus\.jsonl: no row"):
        read_set(folder)


def test_trecs_four_columns_are_read_too(tmp_path: Path) -> None:
    given = read_set(a_set(tmp_path / "tools", "q1\t0\td1\t1\n"))
    assert given.queries[0].grades == {"d1": 1}


@pytest.mark.parametrize("line", ["q1 0 d1 1", " q1\t d1 \t 1 ", "q1 d1 +1", "q1\td1\t1.0", "\nq1\td1\t1\n \n"])
def test_judgements_are_read_however_they_are_parted_and_padded(tmp_path: Path, line: str) -> None:
    assert read_set(a_set(tmp_path / "tools", f"{line}\n")).queries[0].grades == {"d1": 1}


@pytest.mark.parametrize("grade", ["good", "²", "--1", "1.5", "nan", "inf", ""])
def test_grades_that_are_none_are_named(tmp_path: Path, grade: str) -> None:
    with pytest.raises(ValueError, match=r"qrels\.tsv:2: "):
        read_set(a_set(tmp_path / "tools", f"query-id\tcorpus-id\tscore\nq1\td1\t{grade}\n"))


@pytest.mark.parametrize("line", ["q1\td1", "q1\td1\t1.5", "q1 d 1 0 1"])
def test_a_first_line_with_a_number_is_no_header(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match=r"qrels\.tsv:1: "):
        read_set(a_set(tmp_path / "tools", f"{line}\nq1\td1\t1\n"))


def test_a_grade_below_0_is_of_no_use_and_not_worse(tmp_path: Path) -> None:
    grades = read_set(a_set(tmp_path / "tools", "q1\td1\t2\nq1\td2\t-2\n")).queries[0].grades
    assert measure(["d2"], grades).ndcg_10 == 0
    assert measure(["d1", "d2"], grades).ndcg_10 == 1


def test_what_is_looked_for_is_said_where_nothing_is_judged(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "tools")
    (folder / "qrels.tsv").unlink()
    with pytest.raises(ValueError, match=r"tools: .*qrels\.tsv.*qrels/test\.tsv"):
        read_set(folder)


def test_a_folder_of_sets_and_a_set_are_both_found(tmp_path: Path) -> None:
    one, two = a_set(tmp_path / "one"), a_set(tmp_path / "two")
    assert find_sets(tmp_path) == [one, two]
    assert find_sets(two) == [two]


def test_a_set_has_the_name_of_its_folder_from_within_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(a_set(tmp_path / "tools"))
    assert [each.name for each in read_sets(Path())] == ["tools"]


def test_sets_are_chosen_by_name_and_a_name_that_none_has_is_told_those_there_are(tmp_path: Path) -> None:
    a_set(tmp_path / "one"), a_set(tmp_path / "two")
    assert [each.name for each in read_sets(tmp_path, ["two"])] == ["two"]
    with pytest.raises(ValueError, match=r"nosuch.*: one, two"):
        read_sets(tmp_path, ["two", "nosuch"])


def test_a_folder_without_a_set_is_searched_for_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no set"):
        read_sets(tmp_path)
    folder = a_set(tmp_path / "downloads" / "beir" / "tools")
    with pytest.raises(ValueError, match=f"below {folder.parent}"):
        read_sets(tmp_path / "downloads")
    (folder / "corpus.jsonl").rename(folder / "corpus.jsonl.gz")
    with pytest.raises(ValueError, match=r"tools/corpus\.jsonl\.gz is packed"):
        read_sets(folder.parent)
