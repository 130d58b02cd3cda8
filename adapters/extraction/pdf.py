"""Reads PDFs: PDFium for the text, pypdf where PDFium finds none, fails, or loses part of a page."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_PAGEOBJ_FORM, FPDF_PAGEOBJ_IMAGE

from adapters.extraction.cleaning import Legibility, clean_page
from adapters.extraction.lam_alef import restore
from adapters.extraction.messages import BLANK_PDF, CORRUPT, ENCRYPTED, NO_TEXT_IN_PDF, UNREADABLE, too_many_pages
from adapters.extraction.order import PDFIUM
from adapters.extraction.outline import Entries, entries_of, place
from adapters.extraction.output import PageWriter
from adapters.extraction.second_opinion import SecondOpinion
from domain.errors import CorruptFile, DomainError, EncryptedFile, ExtractionLimit, NoText, UnreadableText

# On turned pages PDFium was seen to lose glyphs; pypdf's text is taken where it has this much more.
_MUCH_MORE = 1.2


# A page without text is a scan where its pictures cover this much of it. A blank page has none, and what
# adorns an empty page is smaller; a picture that fills a page may show text, and only looking at it tells.
_PICTURE_SHARE = 0.5
_OBJECTS = 2000  # of a page that are looked at


def read_pdf(source: Path, output: PageWriter, *, pages: int, reader: str = PDFIUM, recognizable: bool = False) -> None:
    """Write page by page. A second reader is asked before a document is refused, or left to recognition.

    Where `recognizable`, a document without readable text is no failure: its pages come out empty.
    """
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
        if recognizable and reader == PDFIUM and not isinstance(failure, CorruptFile):
            return _leave_to_recognition(source, second, output, failure)
        raise failure


def _leave_to_recognition(source: Path, second: SecondOpinion, output: PageWriter, failure: DomainError) -> None:
    """Write empty pages. Nothing else is to be had of the document, so every page that is not blank is drawn."""
    try:
        document = _Pdfium(source, second)
    except CorruptFile:
        raise failure from None
    wanted = [index for index in range(document.count) if document.is_drawn(index)]
    if not wanted:
        raise NoText(BLANK_PDF)
    output.restart()
    for index in range(document.count):
        output.write(index + 1, "", document.count)
    output.needs_recognition([index + 1 for index in wanted])


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
        self.outline = entries_of(self._document)

    def page(self, index: int) -> str | None:
        """Give a page's text, none where it cannot be read."""
        try:
            page = self._document[index]
        except pypdfium2.PdfiumError:
            return self._second.page(index)
        try:
            layer = page.get_textpage()
            try:
                text = restore(layer, layer.get_text_range())
            finally:
                layer.close()
            turned = page.get_rotation() != 0
        except pypdfium2.PdfiumError:
            return self._second.page(index)
        finally:
            page.close()
        return self._fuller(index, text) if turned and text else text

    def is_picture(self, index: int) -> bool:
        """Tell whether pictures cover half of the page, or more."""
        return self._shows(index, lambda page: _pictured(page) >= _PICTURE_SHARE)

    def is_drawn(self, index: int) -> bool:
        """Tell whether anything is on the page: also text in outlines, or in a font that says nothing."""
        return self._shows(index, lambda page: any(True for _ in page.get_objects(max_depth=1)))

    def _shows(self, index: int, what: Callable[[pypdfium2.PdfPage], bool]) -> bool:
        try:
            page = self._document[index]
        except pypdfium2.PdfiumError:
            return False
        try:
            return what(page)
        except pypdfium2.PdfiumError:
            return False
        finally:
            page.close()

    def _fuller(self, index: int, text: str) -> str:
        other = self._second.page(index) or ""
        return other if _letters(other) > _MUCH_MORE * _letters(text) else text


def _pictured(page: pypdfium2.PdfPage) -> float:
    """Give the share of the page that pictures cover, each counted by itself: a scan may come in strips."""
    left, bottom, right, top = page.get_bbox()
    covered = 0.0
    for thing in islice(page.get_objects(max_depth=1), _OBJECTS):
        if not _is_picture(page, thing):
            continue
        x0, y0, x1, y1 = thing.get_bounds()
        covered += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
    return float(covered / max((right - left) * (top - bottom), 1.0))


def _is_picture(page: pypdfium2.PdfPage, thing: pypdfium2.PdfObject) -> bool:
    """Tell pictures, and forms that hold one: scanners wrap them. What lies inside tells no place on the page."""
    if thing.type != FPDF_PAGEOBJ_FORM:
        return bool(thing.type == FPDF_PAGEOBJ_IMAGE)
    inside = page.get_objects(filter=(FPDF_PAGEOBJ_IMAGE,), max_depth=3, form=thing.raw, level=1)
    return any(True for _ in islice(inside, 1))


class _Pypdf:
    def __init__(self, second: SecondOpinion) -> None:
        self._second = second
        if second.is_encrypted():
            raise EncryptedFile(ENCRYPTED)
        count = second.count()
        if count is None:
            raise CorruptFile(CORRUPT)
        self.count = count
        self.outline: Entries = {}

    def page(self, index: int) -> str | None:
        return self._second.page(index)

    def is_picture(self, index: int) -> bool:  # noqa: ARG002  (it draws none, so none is asked for)
        return False


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _read(document: _Pdfium | _Pypdf, output: PageWriter, limit: int) -> None:
    if document.count > limit:
        raise ExtractionLimit(too_many_pages(document.count, limit))
    legibility, found, failed = Legibility(), False, 0
    pictures: list[int] = []
    for index in range(document.count):
        raw = document.page(index)
        if raw is None:
            failed += 1
        legibility.add(raw or "")
        text = clean_page(raw or "")
        blank = not text.strip()
        found = found or not blank
        if blank and document.is_picture(index):
            pictures.append(index + 1)
        output.write(index + 1, text, document.count, place(document.outline.get(index, []), text))
    if not found:
        raise CorruptFile(CORRUPT) if failed == document.count else NoText(NO_TEXT_IN_PDF)
    if legibility.is_garbage():
        raise UnreadableText(UNREADABLE)
    output.needs_recognition(pictures)
