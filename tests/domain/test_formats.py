"""What a file is, by its first bytes."""

import pytest

from domain.documents import Format
from domain.errors import DomainError, EmptyFile, EncryptedFile, UnsupportedFormat
from domain.formats import CONTENT_TYPES, HEAD_BYTES, TAIL_BYTES, detect, image_type
from tests.office_files import a_docx, a_pptx, a_zip, an_epub, an_odt, an_xlsx, docx_paragraph


@pytest.mark.parametrize(
    ("head", "name", "declared", "format"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "a.pdf", "application/pdf", Format.PDF),
        (b"%PDF-1.7\n", "a.txt", "text/plain", Format.PDF),
        (b"\x00junk" * 150 + b"%PDF-1.4", "a.pdf", None, Format.PDF),
        (b"A text on %PDF-1.4 and its header", "a.txt", "text/plain", Format.TEXT),
        (b"plain", "a.TXT", None, Format.TEXT),
        (b"plain", "no-suffix", "application/octet-stream", Format.TEXT),
        (b"# Title", "README.MD", None, Format.MARKDOWN),
        (b"# Title", "a.markdown", "text/plain", Format.MARKDOWN),
        (b"# Title", "upload", "text/markdown; charset=utf-8", Format.MARKDOWN),
        ("größer".encode("latin-1"), "a.txt", None, Format.TEXT),
        ("\ufefftext".encode("utf-16-le"), "a.txt", None, Format.TEXT),
        ("\ufefftext".encode("utf-32-be"), "a.txt", None, Format.TEXT),
        ("a text without a mark".encode("utf-16-le"), "a.txt", None, Format.TEXT),
        (b"<!DOCTYPE HTML><p>", "a.pdf", None, Format.HTML),
        (b"\xef\xbb\xbf\n<html>", "a.txt", None, Format.HTML),
        (b'<?xml version="1.0"?>\n<!-- a --><html xmlns="x">', "page", None, Format.HTML),
        (b"<p>part of a page", "a.html", None, Format.HTML),
        (b"# On <html>", "a.md", None, Format.MARKDOWN),
        (b"{\\rtf1 x}", "a.doc", None, Format.RTF),
        (b"a,b,c\n1,2,3\n", "a.csv", None, Format.CSV),
        (b"a,b,c\n1,2,3\n4,5,6\n", "upload", None, Format.CSV),
        (b"Dear all, this, that\nand more.\nBest, me\n", "upload", None, Format.TEXT),
        (b'{"a": 1}', "upload", None, Format.JSON),
        (b"[1] A footnote, then text", "a.txt", None, Format.TEXT),
        (b'{"a": 1}\n{"a": 2}', "a.jsonl", None, Format.JSON),
        (b"From: a@b.c\nSubject: x\nMIME-Version: 1.0\n\nHi", "upload", None, Format.EML),
        (b"From: a@b.c\nSubject: x\n\nHi", "a.txt", None, Format.TEXT),
    ],
)
def test_content_decides_and_the_name_tells_kinds_of_text_apart(
    head: bytes, name: str, declared: str | None, format: Format  # noqa: A002  (the domain's word)
) -> None:  # fmt: skip
    assert detect(head, name, declared) == (format, CONTENT_TYPES[format])


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (a_docx(docx_paragraph("x")), Format.DOCX),
        (a_pptx([("t", [], "")]), Format.PPTX),
        (an_xlsx({"S": [["x"]]}), Format.XLSX),
        (an_odt("x"), Format.ODT),
        (an_epub(["x"]), Format.EPUB),
        (
            a_zip(
                {
                    "docProps/thumbnail.jpeg": bytes(8000),
                    "ppt/embeddings/a.docx": a_docx("x"),
                    **{f"ppt/slides/slide{n}.xml": "" for n in range(9)},
                }
            ),
            Format.PPTX,
        ),
    ],
    ids=["docx", "pptx", "xlsx", "odt", "epub", "a document within a presentation"],
)
def test_an_archive_is_known_by_its_parts_whatever_its_name(content: bytes, format: Format) -> None:  # noqa: A002  (as above)
    assert detect(content[:HEAD_BYTES], "a.bin", None, content[-TAIL_BYTES:])[0] is format


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        (a_zip({"notes.txt": "x"}), "a.zip", UnsupportedFormat),
        (a_zip({"notes.txt": "x"}), "a.docx", UnsupportedFormat),
        (a_zip({"notes.txt": "x"})[:40], "a.docx", UnsupportedFormat),
        (a_zip({"mimetype": "application/vnd.oasis.opendocument.graphics"}), "a.odt", UnsupportedFormat),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.doc", UnsupportedFormat),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.xlsx", EncryptedFile),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "a", EncryptedFile),
    ],
    ids=["files", "files called docx", "cut off", "a drawing", "doc", "locked xlsx", "locked"],
)
def test_an_archive_that_is_no_document_is_refused(content: bytes, name: str, error: type[DomainError]) -> None:
    with pytest.raises(error):
        detect(content[:HEAD_BYTES], name, None, content[-TAIL_BYTES:])


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (b"plain text", "a.pdf", "not a PDF"),
        (b" " * 2000 + b"%PDF-1.4", "a.pdf", "not a PDF"),
        (b"not an archive", "a.odt", "not an OpenDocument"),
        (b"\x7fELF\x02\x01\x01\x00", "a.txt", "binary"),
        (b"text with\x00a NUL", "a.md", "binary"),
    ],
)
def test_what_is_not_read_is_refused_in_words_that_help(head: bytes, name: str, words: str) -> None:
    with pytest.raises(UnsupportedFormat, match=words):
        detect(head, name)


def test_no_bytes_are_an_empty_file() -> None:
    with pytest.raises(EmptyFile):
        detect(b"", "a.pdf", "application/pdf")


def test_comments_without_end_before_a_page_are_looked_at_in_no_time() -> None:
    assert detect(b"<!--x-->" * 512, "a", None)[0] is Format.TEXT  # each way to pair them would take for ever


def test_numbers_of_sixteen_bits_are_no_text() -> None:
    with pytest.raises(UnsupportedFormat, match="binary"):
        detect(b"".join(number.to_bytes(2, "little") for number in range(32)) * 20, "a.txt")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF87a\x01", "image/gif"),
        (b"GIF89a\x01", "image/gif"),
        (b"II*\x00\x08\x00", "image/tiff"),
        (b"MM\x00*\x00\x00", "image/tiff"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00", "image/bmp"),
    ],
)
@pytest.mark.parametrize("name", ["scan.bin", "scan.txt", "scan.pdf"])
def test_an_image_is_known_by_its_first_bytes_whatever_its_name(head: bytes, kind: str, name: str) -> None:
    assert detect(head, name) == (Format.IMAGE, kind)


@pytest.mark.parametrize("head", [b"BMW built a car.", b"RIFF\x10\x00\x00\x00WAVEfmt ", b"II. The second"])
def test_what_only_begins_like_an_image_is_none(head: bytes) -> None:
    assert image_type(head) is None
