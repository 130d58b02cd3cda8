"""Tell a file's format by its bytes; its name only decides between kinds of text."""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath

from domain.documents import Format
from domain.errors import EmptyFile, EncryptedFile, UnsupportedFormat

HEAD_BYTES = 4096
"""How much of a file's beginning `detect` wants to see."""

TAIL_BYTES = 1 << 16
"""How much of an archive's end: its list of parts is there."""

READ = (
    "PDF, Word (DOCX), PowerPoint (PPTX), Excel (XLSX), OpenDocument (ODT, ODS), EPUB, HTML, e-mail (EML), RTF, CSV, "
    "JSON, Markdown, plain text and images (PNG, JPEG, TIFF, GIF, BMP, WebP) are read."
)
_OPENXML = "application/vnd.openxmlformats-officedocument"
CONTENT_TYPES = {
    Format.PDF: "application/pdf",
    Format.TEXT: "text/plain",
    Format.MARKDOWN: "text/markdown",
    Format.DOCX: f"{_OPENXML}.wordprocessingml.document",
    Format.PPTX: f"{_OPENXML}.presentationml.presentation",
    Format.XLSX: f"{_OPENXML}.spreadsheetml.sheet",
    Format.ODT: "application/vnd.oasis.opendocument.text",
    Format.ODS: "application/vnd.oasis.opendocument.spreadsheet",
    Format.EPUB: "application/epub+zip",
    Format.HTML: "text/html",
    Format.EML: "message/rfc822",
    Format.RTF: "application/rtf",
    Format.CSV: "text/csv",
    Format.JSON: "application/json",
    Format.IMAGE: "image/png",
}

_PDF_HEADER = b"%PDF-"
_PDF_WITHIN = 1024  # what readers of PDF agreed on
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
)
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # sizes of the header that follows the first
_KNOWN = (
    (b"%!PS", "PostScript", "Convert it to PDF and upload that."),
    (b"\x1f\x8b", "a compressed file", "Unpack it and upload what is in it."),
)
# Parts that only one format has, as the list of an archive's parts names them.
_PARTS = {b"word": Format.DOCX, b"ppt": Format.PPTX, b"xl": Format.XLSX}
_ENTRY = re.compile(rb"PK(?:\x01\x02.{42}|\x03\x04.{26})(word|ppt|xl)/", re.DOTALL)
_MIMETYPE = re.compile(
    rb"^PK\x03\x04.{26}mimetype.{0,64}?(application/(?:epub\+zip|vnd\.oasis\.opendocument\.[a-z-]+))", re.DOTALL
)
_MIMETYPES = {CONTENT_TYPES[kind].encode(): kind for kind in (Format.ODT, Format.ODS, Format.EPUB)}

_TEXT_SUFFIXES = {
    ".md": Format.MARKDOWN, ".markdown": Format.MARKDOWN, ".txt": Format.TEXT, ".log": Format.TEXT,
    ".html": Format.HTML, ".htm": Format.HTML, ".xhtml": Format.HTML, ".eml": Format.EML, ".csv": Format.CSV,
    ".tsv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.JSON, ".ndjson": Format.JSON,
}  # fmt: skip
_TEXT_TYPES = {
    "text/markdown": Format.MARKDOWN, "text/html": Format.HTML, "application/xhtml+xml": Format.HTML,
    "message/rfc822": Format.EML, "text/csv": Format.CSV, "text/tab-separated-values": Format.CSV,
    "application/json": Format.JSON, "application/jsonl": Format.JSON, "application/x-ndjson": Format.JSON,
}  # fmt: skip
_BINARY_SUFFIXES = {
    ".pdf": "a PDF", ".docx": "a Word document", ".pptx": "a presentation", ".xlsx": "a workbook",
    ".odt": "an OpenDocument text", ".ods": "an OpenDocument spreadsheet", ".epub": "an e-book",
}  # fmt: skip
_ENCRYPTABLE = frozenset({".docx", ".pptx", ".xlsx", ".docm", ".pptm", ".xlsm"})
_ENCRYPTED_PART = "EncryptedPackage".encode("utf-16-le")

_WEB = re.compile(rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--(?:(?!-->).){0,4000}-->\s*)*<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE | re.DOTALL)  # fmt: skip
_MAIL_HEADER = re.compile(rb"^(?:From |[A-Za-z][A-Za-z0-9-]{1,60}:[ \t])")
_MAIL_MARKS = re.compile(rb"^(?:received|return-path|message-id|mime-version|delivered-to|dkim-signature|from): ?", re.IGNORECASE | re.MULTILINE)  # fmt: skip
_DATA = re.compile(rb'\s*(?:\{\s*(?:"|\})|\[\s*(?:[{\["\]\d-]|true|false|null))')


def detect(head: bytes, filename: str, declared: str | None = None, tail: bytes = b"") -> tuple[Format, str]:
    """Give the format and its content type. Content decides over name and declared type.

    `tail` holds the end of an archive. Raises `EmptyFile` for no bytes, `EncryptedFile`, and
    `UnsupportedFormat`, with what to do, for what is not read.
    """
    if not head:
        raise EmptyFile("The file is empty. Upload a file that holds something.", param="file")
    image = image_type(head)
    if image is not None:
        return Format.IMAGE, image
    found = _detect(head, PurePath(filename).suffix.lower(), (declared or "").split(";")[0].strip().lower(), tail)
    return found, CONTENT_TYPES[found]


@dataclass(slots=True)
class Sample:
    """What `detect` wants of a file that passes by in pieces."""

    head: bytes = b""
    tail: bytes = b""

    def take(self, data: bytes) -> None:
        """Look at the next piece."""
        self.head += data[: HEAD_BYTES - len(self.head)]
        if is_archive(self.head):
            self.tail = (self.tail + data)[-TAIL_BYTES:]

    @property
    def suffices(self) -> bool:
        """Tell whether more of the file would not change the answer."""
        return len(self.head) >= HEAD_BYTES and not is_archive(self.head)


def is_archive(head: bytes) -> bool:
    """Tell whether the end of the file is needed to know it."""
    return head.startswith(_ZIP)


def image_type(head: bytes) -> str | None:
    """Give the content type of an image that is read, by its first bytes; none for anything else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:2] == b"BM" and head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    return next((kind for magic, kind in _IMAGES if head.startswith(magic)), None)


def is_binary(head: bytes) -> bool:
    """Tell binary from text by a NUL; UTF-32 shows itself by its mark, UTF-16 also by where its NULs are."""
    return b"\x00" in head and not head.startswith(_BOMS) and not _is_utf16(head)


def _detect(head: bytes, suffix: str, declared: str, tail: bytes) -> Format:
    if _is_pdf(head, says_pdf=suffix == ".pdf" or declared == "application/pdf"):
        return Format.PDF
    if is_archive(head):
        return _container(head, tail)
    start = head.removeprefix(_BOMS[0]).lstrip()
    if start.startswith(b"{\\rtf"):
        return Format.RTF
    _refuse_known(head, start, suffix, tail)
    if is_binary(head):
        raise UnsupportedFormat(f"The file is binary, of a format that is not read. {READ}", param="file")
    return _text(head.removeprefix(_BOMS[0]), suffix, declared)


def _is_pdf(head: bytes, *, says_pdf: bool) -> bool:
    at = head.find(_PDF_HEADER, 0, _PDF_WITHIN + len(_PDF_HEADER))
    if at < 0:
        return False
    # A text that speaks of "%PDF-" is text, unless its name says otherwise.
    return says_pdf or not head[:at].removeprefix(_BOMS[0]).strip() or is_binary(head)


def _container(head: bytes, tail: bytes) -> Format:
    """Tell an archive's kind by the parts that its beginning and its end name; the reader makes sure."""
    kind = _MIMETYPE.match(head)
    if kind:
        if kind[1] in _MIMETYPES:
            return _MIMETYPES[kind[1]]
        raise UnsupportedFormat(
            f"The file is an OpenDocument of a kind that is not read. Save it as PDF and upload that. {READ}",
            param="file",
        )
    # A document within a document names its parts too: the most are those of the outer one.
    names = Counter(match[1] for match in _ENTRY.finditer(head + tail))
    if names:
        return _PARTS[names.most_common(1)[0][0]]
    for content_type, found in _MIMETYPES.items():
        if content_type in head and b"mimetype" in head:
            return found
    if b"META-INF/container.xml" in head + tail:
        return Format.EPUB
    if b"PK\x05\x06" not in tail:
        raise UnsupportedFormat(
            "The file is cut off: the end of its archive is missing. Upload it again.", param="file"
        )
    raise UnsupportedFormat(
        "The file is a ZIP archive, or an Office file of a kind that is not read. To upload the files in an archive, "
        f"use POST /bots/{{id}}/imports. {READ}",
        param="file",
    )


def _refuse_known(head: bytes, start: bytes, suffix: str, tail: bytes) -> None:
    if head.startswith(_OLE):
        if suffix in _ENCRYPTABLE or _ENCRYPTED_PART in head or _ENCRYPTED_PART in tail:
            raise EncryptedFile(
                "The document opens with a password only. Remove the password and upload it again.", param="file"
            )
        raise UnsupportedFormat(
            "The file is an older Office file, which is not read. Save it as DOCX, PPTX, XLSX or PDF and upload that.",
            param="file",
        )
    for magic, name, advice in _KNOWN:
        if start.startswith(magic):
            raise UnsupportedFormat(f"The file is {name}, which is not read. {advice} {READ}", param="file")


def _text(head: bytes, suffix: str, declared: str) -> Format:
    plain = head.replace(b"\x00", b"")  # UTF-16 shows its ASCII so
    if _WEB.match(plain.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")):
        return Format.HTML
    if suffix in _BINARY_SUFFIXES:
        name = _BINARY_SUFFIXES[suffix]
        raise UnsupportedFormat(
            f"The file is named {suffix} but is not {name}. Export it again, or give it the right name.", param="file"
        )
    if suffix in _TEXT_SUFFIXES:
        return _TEXT_SUFFIXES[suffix]
    if declared in _TEXT_TYPES:
        return _TEXT_TYPES[declared]
    return Format.TEXT if declared == "text/plain" and suffix else _sniffed(plain)


def _sniffed(head: bytes) -> Format:
    """Guess at a text whose name says nothing."""
    top = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    lines = [line for line in top.splitlines() if not line.startswith((b" ", b"\t"))]
    if len(lines) > 1 and all(map(_MAIL_HEADER.match, lines)) and len(_MAIL_MARKS.findall(top)) > 1:
        return Format.EML
    if _DATA.match(head):
        return Format.JSON
    return Format.CSV if _is_table(head) else Format.TEXT


def _is_table(head: bytes) -> bool:
    """Tell rows of a table: several in which the same delimiter stands equally often, two times or more."""
    lines = head.decode("latin-1").splitlines()
    lines = [line for line in (lines[:-1] if len(head) >= HEAD_BYTES else lines) if line.strip()][:20]
    for delimiter in ",;\t":
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(lines) > 2 and len(widths) == 1 and widths.pop() > 2:
            return True
    return False


def _is_utf16(head: bytes) -> bool:
    """Text that is mostly Latin has its NULs at the odd places only, or at the even ones, and letters between them."""
    halves = head[::2], head[1::2]
    few, many = sorted(half.count(0) for half in halves)
    if many < 0.3 * (len(head) // 2) or few > 0.05 * (len(head) // 2):
        return False
    written = halves[0] if halves[0].count(0) == few else halves[1]
    return sum(byte >= 32 or byte in b"\t\r\n" for byte in written) >= 0.95 * len(written)
