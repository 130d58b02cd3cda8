"""What a file is, by its first bytes."""

import pytest

from domain.documents import Format
from domain.errors import EmptyFile, UnsupportedFormat
from domain.formats import detect


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
    ],
)
def test_content_decides_and_the_name_tells_kinds_of_text_apart(
    head: bytes, name: str, declared: str | None, format: Format  # noqa: A002  (the domain's word)
) -> None:  # fmt: skip
    types = {Format.PDF: "application/pdf", Format.TEXT: "text/plain", Format.MARKDOWN: "text/markdown"}
    assert detect(head, name, declared) == (format, types[format])


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (b"plain text", "a.pdf", "not a PDF"),
        (b" " * 2000 + b"%PDF-1.4", "a.pdf", "not a PDF"),
        (b"<!DOCTYPE HTML><p>", "a.pdf", "web page"),
        (b"\xef\xbb\xbf\n<html>", "a.html", "web page"),
        (b"PK\x03\x04rest", "a.docx", "Office"),
        (b"\x89PNG\r\n", "a.txt", "image"),
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
