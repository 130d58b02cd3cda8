"""Reads plain text and Markdown in pieces whose concatenation is the text."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from adapters.extraction.cleaning import clean_piece
from adapters.extraction.encoding import encoding_of
from adapters.extraction.messages import NO_TEXT_IN_FILE
from adapters.extraction.order import Order
from adapters.extraction.output import PIECE, PageWriter
from domain.errors import NoText


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write the text in pieces of 65,536 characters, line ends as `\\n`."""
    found = False
    with open_text(source, output, order) as file:
        while piece := file.read(PIECE):
            text = clean_piece(piece)
            found = found or bool(text.strip())
            output.write(None, text, None)
    if not found:
        raise NoText(NO_TEXT_IN_FILE)


@contextmanager
def open_text(source: Path, output: PageWriter, order: Order, *, newline: str | None = None) -> Iterator[TextIO]:
    """Open in the encoding that was asked for, else detected; bytes that do not fit show as U+FFFD."""
    output.encoding = codecs.lookup(order["encoding"] or encoding_of(source)).name
    with source.open(encoding=output.encoding, errors="replace", newline=newline) as file:
        yield file


def whole_text(source: Path, output: PageWriter, order: Order) -> str:
    """Give all of it; the reader that asks needs it in one piece."""
    with open_text(source, output, order) as file:
        return clean_piece(file.read())
