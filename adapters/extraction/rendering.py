"""Draws one page of a document as a JPEG, of a size that a recogniser can take."""

import math
from pathlib import Path

import pypdfium2
from PIL import Image, ImageOps

from adapters.extraction.image import check_size, opened
from adapters.extraction.messages import UNDRAWABLE
from adapters.extraction.order import Order
from domain.errors import UnreadablePage

# A3 at 300 dots per inch; a provider scales down what is larger, and a page of 5 metres is a drawing.
_PIXELS = 18_000_000
_LONGEST = 8_000
_QUALITY = 90
_POINTS_PER_INCH = 72


def render(order: Order) -> None:
    """Draw the page that the order names. Raises `UnreadablePage`, `CorruptFile` and `ExtractionLimit`."""
    source, target = Path(order["source"]), order["target"]
    dots = order["dots_per_inch"]
    image = _of_image(source, order["page"]) if order["format"] == "image" else _of_pdf(source, order["page"], dots)
    image.save(target, "JPEG", quality=_QUALITY, dpi=(dots, dots))


def _of_pdf(source: Path, page: int, dots_per_inch: int) -> Image.Image:
    try:
        sheet = pypdfium2.PdfDocument(source)[page - 1]
        width, height = sheet.get_size()
        wanted = dots_per_inch / _POINTS_PER_INCH
        scale = wanted * _shrink(width * wanted, height * wanted)
        drawn: Image.Image = sheet.render(scale=scale).to_pil().convert("RGB")
    except (pypdfium2.PdfiumError, ValueError, IndexError, ZeroDivisionError):
        raise UnreadablePage(UNDRAWABLE) from None
    return drawn


def _of_image(source: Path, page: int) -> Image.Image:
    with opened(source) as image:
        image.seek(page - 1)
        check_size(image)
        shrink = _shrink(*image.size)
        small = image
        if shrink < 1:
            # A palette has no colours between two others.
            small = image.convert("RGB") if image.mode in ("1", "P") else image
            small.thumbnail((int(image.width * shrink), int(image.height * shrink)))
        return _on_white(ImageOps.exif_transpose(small))


def _on_white(image: Image.Image) -> Image.Image:
    """Drop transparency as paper would; 16 bits a pixel are brought to 8 first, which `convert` would clip."""
    if image.mode.startswith("I"):
        image = image.convert("F").point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    paper = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(paper, colours).convert("RGB")


def _shrink(width: float, height: float) -> float:
    """Give the factor, 1 at most, that brings a size within the limits."""
    return min(1.0, math.sqrt(_PIXELS / (width * height)), _LONGEST / max(width, height))
