"""Reads PDFs: PDFium for the text, pypdf where PDFium finds none, fails, or loses part of a page."""

from collections.abc import Callable
from pathlib import Path

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD

from adapters.extraction.cleaning import Legibility, clean_page
from adapters.extraction.messages import CORRUPT, ENCRYPTED, NO_TEXT_IN_PDF, UNREADABLE, too_many_pages
from adapters.extraction.order import PDFIUM
from adapters.extraction.output import PageWriter
from adapters.extraction.second_opinion import SecondOpinion
from domain.errors import CorruptFile, DomainError, EncryptedFile, ExtractionLimit, NoText, UnreadableText

# On turned pages PDFium was seen to lose glyphs; pypdf's text is taken where it has this much more.
_MUCH_MORE = 1.2


def read_pdf(source: Path, output: PageWriter, *, pages: int, reader: str = PDFIUM) -> None:
    """Write page by page. A second reader is asked before a document is refused."""
    with SecondOpinion(source) as second:
        readers: list[Callable[[], None]] = [lambda: _read(_Pypdf(second), output, pages)]
        if reader == PDFIUM:
            readers.insert(0, lambda: _read(_Pdfium(source, second), output, pages))
        failure: DomainError = CorruptFile(CORRUPT)
        for read in readers:
            output.restart()
            try:
                return read()
            except (CorruptFile, NoText, UnreadableText) as error:
                if not isinstance(error, CorruptFile):
                    failure = error
        raise failure


class _Pdfium:
    def __init__(self, source: Path, second: SecondOpinion) -> None:
        self._second = second
        try:
            self._document = pypdfium2.PdfDocument(source)
        except pypdfium2.PdfiumError as error:
            if error.err_code == FPDF_ERR_PASSWORD:
                raise EncryptedFile(ENCRYPTED) from None
            raise CorruptFile(CORRUPT) from None
        self.count = len(self._document)

    def page(self, index: int) -> str | None:
        """Give a page's text, none where it cannot be read."""
        try:
            page = self._document[index]
        except pypdfium2.PdfiumError:
            return self._second.page(index)
        try:
            layer = page.get_textpage()
            try:
                text: str = layer.get_text_range()
            finally:
                layer.close()
            turned = page.get_rotation() != 0
        except pypdfium2.PdfiumError:
            return self._second.page(index)
        finally:
            page.close()
        return self._fuller(index, text) if turned and text else text

    def _fuller(self, index: int, text: str) -> str:
        other = self._second.page(index) or ""
        return other if _letters(other) > _MUCH_MORE * _letters(text) else text


class _Pypdf:
    def __init__(self, second: SecondOpinion) -> None:
        self._second = second
        if second.is_encrypted():
            raise EncryptedFile(ENCRYPTED)
        count = second.count()
        if count is None:
            raise CorruptFile(CORRUPT)
        self.count = count

    def page(self, index: int) -> str | None:
        return self._second.page(index)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _read(document: _Pdfium | _Pypdf, output: PageWriter, limit: int) -> None:
    if document.count > limit:
        raise ExtractionLimit(too_many_pages(document.count, limit))
    legibility, found, failed = Legibility(), False, 0
    for index in range(document.count):
        raw = document.page(index)
        if raw is None:
            failed += 1
        legibility.add(raw or "")
        text = clean_page(raw or "")
        found = found or bool(text.strip())
        output.write(index + 1, text, document.count)
    if not found:
        raise CorruptFile(CORRUPT) if failed == document.count else NoText(NO_TEXT_IN_PDF)
    if legibility.is_garbage():
        raise UnreadableText(UNREADABLE)
