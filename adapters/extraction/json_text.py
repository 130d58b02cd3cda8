"""Reads JSON and JSON Lines as a stream of events: a line a value, under its path. What is not JSON is text."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import ijson

from adapters.extraction import plain
from adapters.extraction.cleaning import clean_piece
from adapters.extraction.encoding import encoding_of
from adapters.extraction.messages import NO_TEXT_IN_FILE
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import NoText

_VALUES = frozenset({"null", "boolean", "integer", "double", "number", "string"})
_DEEPEST = 10_000


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write `path: value` lines; records of JSON Lines are apart by a blank line."""
    output.encoding = codecs.lookup(order["encoding"] or encoding_of(source)).name
    try:
        with source.open("rb") as file:
            output.write_parts(map(clean_piece, _lines(_Utf8(file, output.encoding))))
    except (ijson.JSONError, UnicodeError, ValueError):
        output.restart()
        plain.read(source, output, order)
        return
    if not output.has_text:
        raise NoText(NO_TEXT_IN_FILE)


def _lines(file: "_Utf8") -> Iterator[str]:
    path = _Path()
    for event, value in ijson.basic_parse(file, multiple_values=True):
        if event == "map_key":
            path.key(value)
        elif event.startswith("start"):
            path.open(is_array=event == "start_array")
        elif event.startswith("end"):
            path.close()
        elif event in _VALUES:
            yield f"{path.of_value()}{_text(value)}\n"
        if path.is_at_end:
            yield "\n"


class _Path:
    """Where the stream is: keys, and positions in arrays from 1."""

    def __init__(self) -> None:
        self._steps: list[str | int] = []

    @property
    def is_at_end(self) -> bool:
        return not self._steps

    def key(self, name: str) -> None:
        self._steps[-1] = " ".join(name.split())

    def open(self, *, is_array: bool) -> None:
        self._count()
        if len(self._steps) >= _DEEPEST:
            raise ValueError("nested too deep to be data")
        self._steps.append(0 if is_array else "")

    def close(self) -> None:
        self._steps.pop()

    def of_value(self) -> str:
        self._count()
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._steps[-12:])
        return f"{path.lstrip('.')}: " if path else ""

    def _count(self) -> None:
        if self._steps and isinstance(self._steps[-1], int):
            self._steps[-1] += 1


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip().replace("\n", "\n    ")  # indented, so that no line of a value is a heading
    return "null" if value is None else str(value).lower()


class _Utf8:
    """A file in any encoding, as the UTF-8 bytes that the parser takes."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._reader = codecs.getreader(encoding)(file, "replace")

    def read(self, size: int = -1) -> bytes:
        return self._reader.read(size).encode("utf-8", "replace")
