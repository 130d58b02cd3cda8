"""Pages that are pictures: text drawn by Pillow, in the font that it brings along."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from pypdf import PdfReader, PdfWriter

needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="Tesseract is not installed (apt-get install tesseract-ocr)"
)
A4 = (1240, 1754)  # at 150 dots per inch


def an_image(text: str = "", *, size: tuple[int, int] = A4, mode: str = "RGB", turned: int = 0) -> Image.Image:
    """Draw lines of text on white, black on white, turned by so many degrees."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).multiline_text((100, 120), text, font=ImageFont.load_default(size=36), fill=0, spacing=16)
    return image.rotate(turned, expand=True).convert(mode)


def as_bytes(image: Image.Image, kind: str, *more: Image.Image) -> bytes:
    """Write an image, and the pages that follow it where the format has pages."""
    buffer = io.BytesIO()
    pages = {"save_all": True, "append_images": list(more)} if more else {}
    image.save(buffer, kind, **pages)
    return buffer.getvalue()


def a_scan(pages: Sequence[str]) -> bytes:
    """Make a PDF whose pages are pictures of these texts."""
    first, *more = [an_image(text) for text in pages]
    return as_bytes(first, "PDF", *more)


def joined(*documents: bytes) -> bytes:
    """Put the pages of PDFs one after the other."""
    writer = PdfWriter()
    for document in documents:
        writer.append(PdfReader(io.BytesIO(document)))
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def a_logo_page() -> bytes:
    """Make a PDF page that is empty but for a small picture."""
    buffer = io.BytesIO()
    sheet = an_image(size=A4)
    sheet.resize((300, 200)).save(buffer, "PDF", resolution=150)
    small = PdfReader(io.BytesIO(buffer.getvalue())).pages[0]
    writer = PdfWriter()
    page = writer.add_blank_page(width=595, height=842)
    page.merge_page(small)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def write(path: Path, content: bytes) -> Path:
    """Write a file and give its path back."""
    path.write_bytes(content)
    return path
