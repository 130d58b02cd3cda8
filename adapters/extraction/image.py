"""Reads images: none of them has text of its own, each is a page to be recognised."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from adapters.extraction.messages import CORRUPT_IMAGE, NO_TEXT_IN_IMAGE, too_many_pages, too_many_pixels
from adapters.extraction.output import PageWriter
from domain.errors import CorruptFile, DomainError, ExtractionLimit, NoText

PIXELS = 100_000_000
"""The most that an image may have: A3 at 600 dots per inch has 70 million."""

# Of these no decoder starts another program, as that of EPS does.
_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")
Image.MAX_IMAGE_PIXELS = None  # `check_size` says it better
_PAGED = frozenset({"TIFF"})  # the frames of the others are an animation, whose first is taken


def read_image(source: Path, output: PageWriter, *, pages: int, recognizable: bool) -> None:
    """Write one empty page for each frame of a TIFF, else one; all of them need recognition."""
    with opened(source) as image:
        count: int = getattr(image, "n_frames", 1) if image.format in _PAGED else 1
        if count > pages:
            raise ExtractionLimit(too_many_pages(count, pages))
    if not recognizable:
        raise NoText(NO_TEXT_IN_IMAGE)
    for number in range(1, count + 1):
        output.write(number, "", count)
    output.needs_recognition(range(1, count + 1))


@contextmanager
def opened(source: Path) -> Iterator[Image.Image]:
    """Open an image of a size that can be handled. Raises `CorruptFile` and `ExtractionLimit`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with Image.open(source, formats=_FORMATS) as image:
                check_size(image)
                yield image
    except (DomainError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  (decoders raise exceptions of every kind)
        raise CorruptFile(CORRUPT_IMAGE) from None


def check_size(image: Image.Image) -> None:
    """Refuse what would take too much memory before it is decoded. Raises `ExtractionLimit`."""
    pixels = image.width * image.height
    if pixels > PIXELS:
        raise ExtractionLimit(too_many_pixels(pixels, PIXELS))
