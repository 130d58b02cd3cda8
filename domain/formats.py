"""Tell a file's format by its first bytes; its name only decides between kinds of text."""

from pathlib import PurePath

from domain.documents import Format
from domain.errors import EmptyFile, UnsupportedFormat

HEAD_BYTES = 4096
"""How much of a file `detect` wants to see."""

CONTENT_TYPES = {Format.PDF: "application/pdf", Format.TEXT: "text/plain", Format.MARKDOWN: "text/markdown"}

_PDF_HEADER = b"%PDF-"
_PDF_WITHIN = 1024  # what readers of PDF agreed on
_READ = "PDF, plain text and Markdown are read."
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_KNOWN = (
    (b"PK\x03\x04", "a ZIP or Office file", "Save it as PDF and upload that."),
    (b"\xd0\xcf\x11\xe0", "an older Office file", "Save it as PDF and upload that."),
    (b"{\\rtf", "an RTF file", "Save it as PDF and upload that."),
    (b"%!PS", "PostScript", "Convert it to PDF and upload that."),
    (b"\x89PNG", "an image", "Upload a searchable PDF (OCR)."),
    (b"\xff\xd8\xff", "an image", "Upload a searchable PDF (OCR)."),
    (b"GIF8", "an image", "Upload a searchable PDF (OCR)."),
    (b"II*\x00", "an image", "Upload a searchable PDF (OCR)."),
    (b"MM\x00*", "an image", "Upload a searchable PDF (OCR)."),
    (b"\x1f\x8b", "a compressed file", "Unpack it and upload what is in it."),
    (b"<!doctype html", "a web page", "Save it as PDF or text and upload that."),
    (b"<html", "a web page", "Save it as PDF or text and upload that."),
)


def detect(head: bytes, filename: str, declared: str | None = None) -> tuple[Format, str]:
    """Give the format and its content type. Content decides over name and declared type.

    Raises `EmptyFile` for no bytes and `UnsupportedFormat`, with what to do, for what is not read.
    """
    if not head:
        raise EmptyFile("The file is empty. Upload a file that holds something.", param="file")
    suffix = PurePath(filename).suffix.lower()
    says_pdf = suffix == ".pdf" or (declared or "").split(";")[0].strip().lower() == "application/pdf"
    if _is_pdf(head, says_pdf=says_pdf):
        return Format.PDF, CONTENT_TYPES[Format.PDF]
    _refuse_known(head)
    if suffix == ".pdf":
        raise UnsupportedFormat(
            "The file is named .pdf but is not a PDF. Export it as PDF again, or give it the right name.", param="file"
        )
    if is_binary(head):
        raise UnsupportedFormat(f"The file is binary, of a format that is not read. {_READ}", param="file")
    kind = Format.MARKDOWN if _is_markdown(suffix, declared) else Format.TEXT
    return kind, CONTENT_TYPES[kind]


def is_binary(head: bytes) -> bool:
    """Tell binary from text as git does, by a NUL; UTF-16 and UTF-32 show themselves by their mark."""
    return b"\x00" in head and not head.startswith(_BOMS)


def _is_pdf(head: bytes, *, says_pdf: bool) -> bool:
    at = head.find(_PDF_HEADER, 0, _PDF_WITHIN + len(_PDF_HEADER))
    if at < 0:
        return False
    # A text that speaks of "%PDF-" is text, unless its name says otherwise.
    return says_pdf or not head[:at].removeprefix(_BOMS[0]).strip() or is_binary(head)


def _is_markdown(suffix: str, declared: str | None) -> bool:
    return suffix in {".md", ".markdown"} or (declared or "").lower().startswith("text/markdown")


def _refuse_known(head: bytes) -> None:
    start = head.removeprefix(_BOMS[0]).lstrip()
    for magic, name, advice in _KNOWN:
        if start[: len(magic)].lower() == magic.lower():
            raise UnsupportedFormat(f"The file is {name}, which is not read. {advice} {_READ}", param="file")
