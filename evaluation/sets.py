"""Sets in BEIR's layout: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` or `qrels/test.tsv`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """A row of the corpus."""

    id: str
    title: str
    text: str

    @property
    def content(self) -> str:
        """Give what is ingested: the title above the text, as a file would have it."""
        return f"{self.title}\n\n{self.text}".strip()


@dataclass(frozen=True, slots=True)
class Query:
    """A question and the documents that answer it, each with its grade (0: looked at, and of no use)."""

    id: str
    text: str
    grades: dict[str, int]

    @property
    def answers(self) -> set[str]:
        """Name the documents that answer it."""
        return {document for document, grade in self.grades.items() if grade > 0}


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Documents that have a text, and queries that at least one of them answers."""

    name: str
    documents: tuple[Document, ...]
    queries: tuple[Query, ...]

    @property
    def halves(self) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
        """Cut the documents in two where they lie: those that belong together stand together, as a rule."""
        middle = (len(self.documents) + 1) // 2
        return self.documents[:middle], self.documents[middle:]


def find_sets(folder: Path) -> list[Path]:
    """Find the sets below a folder, or the folder itself where it is one."""
    if (folder / "corpus.jsonl").is_file():
        return [folder]
    return sorted(corpus.parent for corpus in folder.glob("*/corpus.jsonl"))


def read_set(folder: Path) -> EvaluationSet:
    """Read a set. Raises `ValueError` with the file and line where it is not one."""
    grades: dict[str, dict[str, int]] = {}
    flat = folder / "qrels.tsv"
    for query, document, grade in _judgements(flat if flat.is_file() else folder / "qrels" / "test.tsv"):
        grades.setdefault(query, {})[document] = grade
    documents = [
        Document(str(row["_id"]), row.get("title") or "", row["text"]) for row in _rows(folder / "corpus.jsonl", "text")
    ]
    queries = [
        Query(str(row["_id"]), row["text"], grades.get(str(row["_id"]), {}))
        for row in _rows(folder / "queries.jsonl", "text")
    ]
    readable = tuple(document for document in documents if document.text.strip())
    known = {document.id for document in readable}
    return EvaluationSet(folder.name, readable, tuple(query for query in queries if known & query.answers))


def _rows(path: Path, needed: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = _read(line)
            if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get(needed), str):
                raise ValueError(f"{path}:{number}: a JSON object with _id and {needed} is wanted.")
            yield row


def _read(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    """Read BEIR's three columns, or TREC's four; a first line without a grade is a header."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            cells = line.rstrip("\n").split("\t")
            if len(cells) < 3:
                raise ValueError(f"{path}:{number}: three columns parted by tabs are wanted.")
            if cells[-1].lstrip("-").isdigit():
                yield cells[0], cells[-2], int(cells[-1])
            elif number > 1:
                raise ValueError(f"{path}:{number}: the last column is no grade.")
