"""Reads Word documents: mammoth for the text, its styles and lists; HTML parts that Word would merge in as well."""

import gc
import posixpath
import sys
import zipfile
from pathlib import Path

import mammoth
from lxml import etree

from adapters.extraction.archive import check_xml, open_archive, xml_parts
from adapters.extraction.cleaning import clean_piece
from adapters.extraction.encoding import decoded
from adapters.extraction.markdown import from_html, tidy
from adapters.extraction.messages import NO_TEXT_IN_DOCUMENT
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import NoText

_MAIN = "word/document.xml"
_STYLES = "p[style-name='Title'] => h1:fresh"
_MERGED = "/aFChunk"
_WEB = (".html", ".htm", ".xhtml")


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write the document. Word computes pages when it prints: a file does not know them."""
    gc.disable()  # it took 60 % of the time over 872 pages, to free 11 MB of 249
    sys.setrecursionlimit(10_000)  # mammoth descends by recursion; the archive's depth is checked
    with open_archive(source, order, needs=_MAIN) as archive:
        check_xml(archive, xml_parts(archive))
        merged = [from_html(decoded(archive.read(name))) for name in _merged(archive)]
    with source.open("rb") as file:
        html = mammoth.convert_to_html(
            file, convert_image=lambda _: [], style_map=_STYLES, external_file_access=False
        ).value
    text = tidy(clean_piece("\n\n".join([from_html(html), *merged])))
    if not text.strip():
        raise NoText(NO_TEXT_IN_DOCUMENT)
    output.write_text(text)


def _merged(archive: zipfile.ZipFile) -> list[str]:
    """Name the web pages that are part of the document (altChunk)."""
    name = "word/_rels/document.xml.rels"
    if name not in archive.NameToInfo:
        return []
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    relations = etree.fromstring(archive.read(name), parser).iter("{*}Relationship")
    targets = [each.get("Target", "") for each in relations if each.get("Type", "").endswith(_MERGED)]
    names = [posixpath.normpath(posixpath.join("/word", target)).lstrip("/") for target in targets]
    return [name for name in names if name in archive.NameToInfo and name.lower().endswith(_WEB)]
