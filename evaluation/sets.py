"""Sets in BEIR's layout: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` or `qrels/test.tsv`."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

_JUDGEMENTS = ("qrels.tsv", "qrels/test.tsv")


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
    """Documents that have a title or a text, and queries that at least one of them answers."""

    name: str
    documents: tuple[Document, ...]
    queries: tuple[Query, ...]

    @property
    def halves(self) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
        """Cut the documents in two where they lie: those that belong together stand together, as a rule."""
        middle = (len(self.documents) + 1) // 2
        return self.documents[:middle], self.documents[middle:]


def read_sets(folder: Path, only: Collection[str] = ()) -> list[EvaluationSet]:
    """Read the sets that a folder holds, or those of these names.

    Raises `ValueError` or `OSError`, which say where something else stands than a set would have.
    """
    found = {each.name: each for each in find_sets(folder)}
    if not found:
        raise ValueError(f"{folder} holds no set: corpus.jsonl, queries.jsonl and qrels.tsv are wanted.{_hint(folder)}")
    if unknown := [name for name in only if name not in found]:
        raise ValueError(f"No set is named {', '.join(unknown)}; there are: {', '.join(found)}")
    return [read_set(each) for name, each in found.items() if not only or name in only]


def find_sets(folder: Path) -> list[Path]:
    """Find the sets below a folder, or the folder itself where it is one."""
    folder = folder.resolve()  # `.` has no name
    if (folder / "corpus.jsonl").is_file():
        return [folder]
    return sorted(corpus.parent for corpus in folder.glob("*/corpus.jsonl"))


def _hint(folder: Path) -> str:
    for packed in chain(folder.glob("corpus.jsonl.gz"), folder.glob("*/corpus.jsonl.gz")):
        return f" {packed} is packed: gunzip what the set consists of."
    for deep in folder.glob("*/*/corpus.jsonl*"):
        return f" Sets lie right below {deep.parent.parent}: give that folder."
    return ""


def read_set(folder: Path) -> EvaluationSet:
    """Read a set. Raises `ValueError` with the file and line where it is not one."""
    grades: dict[str, dict[str, int]] = {}
    for query, document, grade in _judgements(_judged(folder)):
        grades.setdefault(query, {})[document] = grade
    corpus = folder / "corpus.jsonl"
    documents = tuple(each for row in _rows(corpus) if (each := Document(*row)).content)
    if not documents:
        raise ValueError(f"{corpus}: no row has a title or a text.")
    known = {document.id for document in documents}
    asked = (Query(row, text, grades.get(row, {})) for row, _, text in _rows(folder / "queries.jsonl"))
    queries = tuple(query for query in asked if known & query.answers)
    if not queries:
        raise ValueError(f"{folder}: no question has an answer in the corpus.")
    return EvaluationSet(folder.name, documents, queries)


def _judged(folder: Path) -> Path:
    for name in _JUDGEMENTS:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder}: {' or '.join(_JUDGEMENTS)} is wanted.")


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Read the id, title and text of each row."""
    seen: set[str] = set()
    for place, line in _lines(path):
        match _read(line):
            case {"_id": str() | int() as given, "text": str() as text, **others} if isinstance(
                title := others.get("title") or "", str
            ):
                row = str(given).strip()
            case _:
                raise ValueError(f"{place}: a JSON object with _id and text is wanted; a title is text too.")
        if row in seen:
            raise ValueError(f"{place}: a row before it has the same _id, {row}.")
        seen.add(row)
        yield row, _writable(title), _writable(text)


def _read(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _writable(text: str) -> str:
    """Leave out NULs and write `?` for halves of a character: JSON can hold them, and no file of text."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    """Read BEIR's three columns, or TREC's four; a first line without a grade is a header."""
    for number, (place, line) in enumerate(_lines(path)):
        cells = [cell.strip() for cell in line.split("\t" if "\t" in line else None)]
        if len(cells) not in (3, 4):
            raise ValueError(f"{place}: three columns are wanted, or TREC's four, parted by tabs or spaces.")
        grade = _number(cells[-1])
        if grade is None and number == 0:
            continue
        if grade is None or not grade.is_integer():
            raise ValueError(f"{place}: the last column is no grade, which is a whole number.")
        # A judge's -1 is no answer either. Gains below 0 would take the ranking's measure out of its bounds.
        yield cells[0], cells[-2], max(0, int(grade))


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Give the place and the text of each line that is not blank."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{path}:{number}"
            try:
                text = line.decode("utf-8-sig").strip()
            except UnicodeDecodeError:
                raise ValueError(f"{place}: the line is not UTF-8.") from None
            if text:
                yield place, text
