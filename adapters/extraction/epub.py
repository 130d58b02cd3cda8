"""Reads e-books in the order of their spine. A book has no pages; its chapters are its headings."""

import posixpath
import zipfile
from pathlib import Path
from urllib.parse import unquote

from lxml import etree

from adapters.extraction.archive import check_xml, open_archive
from adapters.extraction.cleaning import clean_piece
from adapters.extraction.encoding import decoded
from adapters.extraction.markdown import from_html, tidy
from adapters.extraction.messages import CORRUPT_DOCUMENT, ENCRYPTED_DOCUMENT, NO_TEXT_IN_DOCUMENT
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import CorruptFile, EncryptedFile, NoText

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write chapter by chapter."""
    with open_archive(source, order, needs=_CONTAINER) as archive:
        chapters = _spine(archive)
        if _ENCRYPTION in archive.NameToInfo and set(chapters) & _encrypted(archive):
            raise EncryptedFile(ENCRYPTED_DOCUMENT)
        found = False
        for name in chapters:
            html = decoded(archive.read(name))
            text = tidy(clean_piece(from_html(html)))
            if text.strip():
                found = True
                output.write_text(text + "\n\n")
    if not found:
        raise NoText(NO_TEXT_IN_DOCUMENT)


def _spine(archive: zipfile.ZipFile) -> list[str]:
    """Name the chapters' parts, in reading order."""
    rootfile = next(iter(_tree(archive, _CONTAINER).iter("{*}rootfile")), None)
    package = rootfile.get("full-path", "") if rootfile is not None else ""
    if package not in archive.NameToInfo:
        raise CorruptFile(CORRUPT_DOCUMENT)
    tree, folder = _tree(archive, package), posixpath.dirname(package)
    parts = {item.get("id"): item.get("href", "") for item in tree.iter("{*}item")}
    spine = [parts.get(reference.get("idref"), "") for reference in tree.iter("{*}itemref")]
    names = [posixpath.normpath(posixpath.join(folder, unquote(href).split("#")[0])) for href in spine if href]
    return [name for name in dict.fromkeys(names) if name in archive.NameToInfo]


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    names: set[str] = set()
    for data in _tree(archive, _ENCRYPTION).iter("{*}EncryptedData"):
        names.update(unquote(reference.get("URI", "")) for reference in data.iter("{*}CipherReference"))
    return names


def _tree(archive: zipfile.ZipFile, name: str) -> etree._Element:
    check_xml(archive, [name])
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, recover=True)
    tree = etree.fromstring(archive.read(name), parser)
    if tree is None:
        raise CorruptFile(CORRUPT_DOCUMENT)
    return tree
