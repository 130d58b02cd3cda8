"""Reads workbooks, a page a sheet: calamine, which is quick, and openpyxl where calamine cannot."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from itertools import chain
from pathlib import Path
from zipfile import ZipFile

from adapters.extraction.archive import check_xml, open_archive, xml_parts
from adapters.extraction.cleaning import clean_piece
from adapters.extraction.markdown import heading, paragraph
from adapters.extraction.messages import CORRUPT_DOCUMENT, NO_TEXT_IN_DOCUMENT, too_many_pages
from adapters.extraction.order import OPENPYXL, Order
from adapters.extraction.output import PageWriter
from adapters.extraction.tables import tables
from domain.errors import CorruptFile, DomainError, ExtractionLimit, NoText

Value = object
Sheets = Iterable[tuple[str, Iterable[Sequence[Value]]]]
_MAIN = {"xlsx": "xl/workbook.xml", "ods": "content.xml"}


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write sheet by sheet, hidden ones too; what formulas gave, not what they are."""
    open_archive(source, order, needs=_MAIN[order["format"]]).close()
    readers: list[Callable[[Path], tuple[int, Sheets]]] = [_calamine, _openpyxl]
    if order["format"] == "ods":
        readers.remove(_openpyxl)
    elif order["reader"] == OPENPYXL:
        readers.remove(_calamine)
    for reader in readers:
        output.restart()
        try:
            return _write(reader(source), output, order)
        except (DomainError, MemoryError):
            raise
        except BaseException:  # noqa: BLE001, S112  (a panic of Rust is no Exception; the next one may read it)
            continue
    raise CorruptFile(CORRUPT_DOCUMENT)


def _write(workbook: tuple[int, Sheets], output: PageWriter, order: Order) -> None:
    total, sheets = workbook
    if total > order["pages"]:
        raise ExtractionLimit(too_many_pages(total, order["pages"]))
    found = False
    for number, (name, rows) in enumerate(sheets, start=1):
        parts = chain((heading(1, clean_piece(name)),), map(clean_piece, _parts(rows)))
        before = output.characters
        output.write_parts(parts, page=number, total=total)
        found = found or output.characters > before + len(heading(1, clean_piece(name)))
    if not found:
        raise NoText(NO_TEXT_IN_DOCUMENT)


def _parts(rows: Iterable[Sequence[Value]]) -> Iterator[str]:
    """Give tables and the titles above them. A blank row ends a table, unless what follows goes on with numbers."""
    walk = _Walk(rows)
    header: list[str] | None = None
    while (first := walk.take()) is not None:
        if walk.after_blank or header is None:
            if _is_title(first, walk.peek()):
                yield paragraph(" ".join(filter(None, map(_text, first)))) + "\n\n"
                header = None
                continue
            if header is None or _is_header(first):
                header = list(map(_text, first))
                yield from tables(header, walk.until_blank())
                continue
        walk.put_back(first)
        yield from tables(header, walk.until_blank())


class _Walk:
    """Rows that hold something, with empty cells at their ends cut off; knows where blank rows were."""

    def __init__(self, rows: Iterable[Sequence[Value]]) -> None:
        self._rows = iter(rows)
        self._waiting: list[tuple[list[Value], bool]] = []
        self.after_blank = False

    def take(self) -> list[Value] | None:
        if not self._waiting:
            self._load()
        if not self._waiting:
            return None
        row, self.after_blank = self._waiting.pop()
        return row

    def put_back(self, row: list[Value]) -> None:
        self._waiting.append((row, False))

    def peek(self) -> list[Value] | None:
        """Give the next row if no blank one is between."""
        if not self._waiting:
            self._load()
        return self._waiting[-1][0] if self._waiting and not self._waiting[-1][1] else None

    def until_blank(self) -> Iterator[list[str]]:
        while (row := self.peek()) is not None:
            self._waiting.pop()
            yield list(map(_text, row))

    def _load(self) -> None:
        blank = False
        for cells in self._rows:
            row = list(cells)
            while row and (row[-1] is None or row[-1] == ""):
                row.pop()
            if row:
                self._waiting.append((row, blank))
                return
            blank = True


def _is_title(row: list[Value], following: list[Value] | None) -> bool:
    filled = sum(value not in (None, "") for value in row)
    return filled == 1 and (following is None or len(following) > 1)


def _is_header(row: list[Value]) -> bool:
    return all(isinstance(value, str) for value in row if value is not None)


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes") if value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def _calamine(source: Path) -> tuple[int, Sheets]:
    # Both are imported where they are used: a child reads one document with one of them.
    from python_calamine import load_workbook  # noqa: PLC0415  (see above)

    book = load_workbook(str(source))
    names = book.sheet_names
    return len(names), ((name, book.get_sheet_by_name(name).iter_rows()) for name in names)


def _openpyxl(source: Path) -> tuple[int, Sheets]:
    with ZipFile(source) as archive:
        check_xml(archive, xml_parts(archive))  # it builds trees, of what calamine does not
    from openpyxl import load_workbook  # noqa: PLC0415  (see above)

    # A file, not its path: it is judged by its name otherwise. It is read row by row, so it stays open.
    book = load_workbook(source.open("rb"), read_only=True, data_only=True, keep_links=False)
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # a file may claim any; the rows themselves decide
    return len(book.worksheets), ((sheet.title, sheet.iter_rows(values_only=True)) for sheet in book.worksheets)
