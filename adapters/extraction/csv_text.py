"""Reads CSV and its kin (semicolons, tabs, bars) into tables that repeat their header."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TextIO

from adapters.extraction.cleaning import clean_piece
from adapters.extraction.messages import NO_TEXT_IN_FILE
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from adapters.extraction.plain import open_text
from adapters.extraction.tables import tables
from domain.errors import NoText

_SAMPLE = 1 << 16
_DELIMITERS = ",;\t|"


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write tables. The first row that holds anything names the columns."""
    csv.field_size_limit(1 << 30)
    with open_text(source, output, order, newline="") as file:
        rows = _rows(file)
        header = next(rows, None)
        if header is None:
            raise NoText(NO_TEXT_IN_FILE)
        output.write_parts(tables(header, rows))


def _rows(file: TextIO) -> Iterator[list[str]]:
    sample = file.read(_SAMPLE)
    dialect = _dialect(sample)
    for row in csv.reader(map(clean_piece, _lines(sample, file)), dialect, strict=False):
        if any(cell.strip() for cell in row):
            yield row


def _lines(sample: str, file: TextIO) -> Iterator[str]:
    """Give the sample's lines and those after it; the sample's last one may be cut."""
    *whole, last = list(StringIO(sample, newline="")) or [""]
    yield from whole
    yield last if last.endswith("\n") else last + file.readline()
    yield from file


def _dialect(sample: str) -> type[csv.Dialect]:
    class Dialect(csv.excel):
        """Excel's rules with the delimiter that the first lines have most of, as evenly as possible."""

        delimiter = _delimiter(sample)

    return Dialect


def _delimiter(sample: str) -> str:
    lines = [line for line in sample.splitlines()[:50] if line.strip()]
    scores = {mark: sum(line.count(mark) > 0 for line in lines) for mark in _DELIMITERS}
    best = max(scores.values(), default=0)
    if not best:
        return ","
    return max(_DELIMITERS, key=lambda mark: (scores[mark], lines[0].count(mark)))
