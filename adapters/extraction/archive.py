"""Looks at an Office file or e-book, which is a ZIP of XML, before a reader opens it. Nothing is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from xml.parsers import expat

from adapters.extraction.messages import (
    CORRUPT_DOCUMENT,
    DECLARES_ENTITIES,
    ENCRYPTED_DOCUMENT,
    TOO_DEEP,
    too_large_archive,
    too_many_entries,
)
from adapters.extraction.order import Order
from domain.errors import ArchiveTooLarge, CorruptFile, EncryptedFile

DEEPEST = 256
"""Nested elements: what libxml2 takes by default; Word writes some 30."""

_SMALL = 8 << 20  # parts up to this size may be as repetitive as they like
_PIECE = 1 << 16


def open_archive(source: Path, order: Order, *, needs: str) -> zipfile.ZipFile:
    """Open it, or raise `CorruptFile`, `EncryptedFile` or `ArchiveTooLarge`. `needs` names a part that must be there."""
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise CorruptFile(CORRUPT_DOCUMENT) from None
    entries = archive.infolist()
    if len(entries) > order["archive_entries"]:
        raise ArchiveTooLarge(too_many_entries(len(entries), order["archive_entries"]))
    size = sum(entry.file_size for entry in entries)
    if size > order["archive_bytes"] or any(_is_bomb(entry, order["archive_ratio"]) for entry in entries):
        raise ArchiveTooLarge(too_large_archive(size, order["archive_bytes"], order["archive_ratio"]))
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise EncryptedFile(ENCRYPTED_DOCUMENT)
    if needs not in archive.NameToInfo:
        raise CorruptFile(CORRUPT_DOCUMENT)
    return archive


def check_xml(archive: zipfile.ZipFile, names: Iterable[str]) -> None:
    """Refuse parts that declare a document type or nest too deep: readers that build trees would follow them."""
    for name in names:
        if name in archive.NameToInfo:
            _check(archive, name)


def xml_parts(archive: zipfile.ZipFile) -> list[str]:
    """Name the parts that are XML by their suffix."""
    return [name for name in archive.NameToInfo if name.lower().endswith((".xml", ".rels"))]


def _is_bomb(entry: zipfile.ZipInfo, ratio: int) -> bool:
    return entry.file_size > _SMALL and entry.file_size > ratio * max(entry.compress_size, 1)


def _check(archive: zipfile.ZipFile, name: str) -> None:
    depth = 0

    def start(_: str, __: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise CorruptFile(TOO_DEEP)

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise CorruptFile(DECLARES_ENTITIES)

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, doctype
    try:
        with archive.open(name) as part:
            while piece := part.read(_PIECE):
                parser.Parse(piece)
    except (expat.ExpatError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        # A broken picture's properties need not cost the text: the reader decides.
        return
