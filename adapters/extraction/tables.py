"""Rows of any number and width, as Markdown tables of a chunk's size: each repeats the header."""

from collections.abc import Iterable, Iterator, Sequence

from adapters.extraction.markdown import row, rule

BLOCK = 800
"""Characters of one table, about: a chunk takes one, and none is cut where rows are shorter."""

_BAND = 320  # of which its header may take so many; what is wider is cut into bands of columns

Row = Sequence[str]


def tables(header: Row, rows: Iterable[Row]) -> Iterator[str]:
    """Give tables, each with the header, and in all but the first band with each row's first cell, its name."""
    bands = _bands(header)
    room = max(BLOCK - len(row(header)), BLOCK // 4) if len(bands) == 1 else (BLOCK - _BAND) * len(bands)
    block: list[Row] = []
    size = 0
    for cells in rows:
        length = sum(map(len, cells)) + 3 * len(cells)
        if block and size + length > room:
            yield from _block(header, bands, block)
            block, size = [], 0
        block.append(cells)
        size += length
    if block or len(header) > 0:
        yield from _block(header, bands, block)


def _block(header: Row, bands: list[range], block: list[Row]) -> Iterator[str]:
    widest = max(map(len, block), default=0)
    for band in bands:
        columns = list(band)
        if band.stop == len(header):  # rows that are longer than the header
            columns.extend(range(len(header), min(widest, len(header) + 100)))
        if band.start:
            columns.insert(0, 0)
        lines = [_pick(cells, columns) for cells in block]
        if band.start and block and not any(any(line[1:]) for line in lines):
            continue
        yield row(_pick(header, columns)) + rule(len(columns)) + "".join(map(row, lines)) + "\n"


def _pick(cells: Row, columns: list[int]) -> list[str]:
    return [cells[column] if column < len(cells) else "" for column in columns]


def _bands(header: Row) -> list[range]:
    bands, start, size = [], 0, 0
    for column, name in enumerate(header):
        length = len(name) + 3
        if column > start and size + length > _BAND:
            bands.append(range(start, column))
            start, size = column, 0
        size += length
    bands.append(range(start, max(len(header), 1)))
    return bands
