"""Reads OpenDocument texts."""

from pathlib import Path

from odfdo import Document

from adapters.extraction.archive import check_xml, open_archive, xml_parts
from adapters.extraction.cleaning import clean_piece
from adapters.extraction.markdown import tidy
from adapters.extraction.messages import ENCRYPTED_DOCUMENT, NO_TEXT_IN_DOCUMENT
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import EncryptedFile, NoText

_MANIFEST = "META-INF/manifest.xml"


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write the document. Its pages are computed when it is shown: a file does not know them."""
    with open_archive(source, order, needs="content.xml") as archive:
        if _MANIFEST in archive.NameToInfo and b"encryption-data" in archive.read(_MANIFEST):
            raise EncryptedFile(ENCRYPTED_DOCUMENT)
        check_xml(archive, xml_parts(archive))
    text = tidy(clean_piece(str(Document(str(source)).to_markdown())))
    if not text.strip():
        raise NoText(NO_TEXT_IN_DOCUMENT)
    output.write_text(text)
