"""Which pages have to be recognised, and how a page becomes an image."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from adapters.extraction import image as image_reader
from adapters.extraction.extractor import SubprocessExtractor
from domain.documents import Format
from domain.errors import CorruptFile, ExtractionLimit, NoText, UnreadablePage, UnreadableText
from domain.ports import ExtractedText, ExtractionJob, ExtractionLimits, RenderJob
from tests.page_images import a_logo_page, a_scan, an_image, as_bytes, joined
from tests.pdf_files import a_pdf, to_unicode, write

SMALL = ExtractionLimits(memory_bytes=512 << 20, cpu_seconds=10, wall_seconds=30, pages=100, output_bytes=1 << 20)
GLYPH_CODES = a_pdf(
    ["ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 3, ""],
    font="/ToUnicode 4 0 R",
    extra=[to_unicode({chr(65 + number): f"{0xE000 + number:04x}" for number in range(26)})],
)


@pytest_asyncio.fixture
async def extractor() -> AsyncIterator[SubprocessExtractor]:
    async with SubprocessExtractor() as extractor:
        yield extractor


Read = Callable[..., Any]


@pytest.fixture
def read(extractor: SubprocessExtractor, tmp_path: Path) -> Read:
    """Extract bytes where recognition is at hand; gives the result and the pages' texts."""

    async def run(
        content: bytes,
        format: Format = Format.PDF,  # noqa: A002  (the job's word)
        *,
        recognizable: bool = True,
        **limits: Any,
    ) -> tuple[ExtractedText, list[str]]:
        source, target = write(tmp_path / "source", content), tmp_path / "pages.jsonl"
        job = ExtractionJob(source, target, format, replace(SMALL, **limits), recognizable=recognizable)
        told = await extractor.extract(job, lambda *_: None)
        return told, [json.loads(line)["text"] for line in target.read_bytes().splitlines()]

    return run


@pytest.fixture
def draw(extractor: SubprocessExtractor, tmp_path: Path) -> Read:
    """Render one page of bytes; gives the image."""

    async def run(content: bytes, format: Format, page: int = 1, dots: int = 100, **limits: Any) -> Image.Image:  # noqa: A002  (the job's word)
        source, target = write(tmp_path / "source", content), tmp_path / "page.jpg"
        await extractor.render(RenderJob(source, target, format, page, dots, replace(SMALL, **limits)))
        drawn = Image.open(io.BytesIO(target.read_bytes()))
        assert drawn.format == "JPEG"
        return drawn

    return run


async def test_scans_among_pages_of_text_are_named_and_blank_ones_are_not(read: Read) -> None:
    document = joined(a_pdf(["One"]), a_scan(["Two"]), a_pdf(["", "Four"]), a_scan(["Five"]))
    told, texts = await read(document)
    assert texts == ["One", "", "", "Four", ""]
    assert told.without_text == (2, 5)


async def test_scans_are_named_as_well_where_nothing_can_recognise_them(read: Read) -> None:
    told, _ = await read(joined(a_pdf(["One"]), a_scan(["Two"])), recognizable=False)
    assert told.without_text == (2,)


async def test_a_small_picture_on_an_empty_page_makes_no_scan(read: Read) -> None:
    told, _ = await read(joined(a_pdf(["One"]), a_logo_page()))
    assert told.without_text == ()


async def test_a_scan_is_left_to_recognition_where_there_is_one(read: Read) -> None:
    told, texts = await read(a_scan(["One", "Two"]))
    assert (told.without_text, texts) == ((1, 2), ["", ""])
    with pytest.raises(NoText, match=r"Install Tesseract.*retry.*upload a searchable version"):
        await read(a_scan(["One"]), recognizable=False)


async def test_a_blank_document_is_not_left_to_recognition(read: Read) -> None:
    with pytest.raises(NoText, match="no pictures"):
        await read(a_pdf(["", ""]))


async def test_a_text_layer_of_glyph_codes_is_dropped_for_recognition(read: Read) -> None:
    told, texts = await read(GLYPH_CODES)
    assert (told.without_text, told.characters, texts) == ((1,), 0, ["", ""])
    with pytest.raises(UnreadableText):
        await read(GLYPH_CODES, recognizable=False)


async def test_many_scans_are_named_in_full(read: Read) -> None:
    page = a_scan([""])
    told, _ = await read(joined(a_pdf(["One"]), *[page] * 900), pages=1000, memory_bytes=1 << 30)
    assert told.without_text == tuple(range(2, 902))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
async def test_an_image_is_one_page_to_be_recognised(read: Read, draw: Read, kind: str) -> None:
    content = as_bytes(an_image("Hello", size=(400, 300)), kind)
    told, texts = await read(content, Format.IMAGE)
    assert (told, texts) == (ExtractedText(1, 0, without_text=(1,)), [""])
    assert (await draw(content, Format.IMAGE)).size == (400, 300)


async def test_an_image_without_recognition_says_what_to_do(read: Read) -> None:
    with pytest.raises(NoText, match="Install Tesseract"):
        await read(as_bytes(an_image(), "PNG"), Format.IMAGE, recognizable=False)


async def test_each_page_of_a_tiff_is_a_page(read: Read, draw: Read) -> None:
    content = as_bytes(an_image(size=(100, 200)), "TIFF", an_image(size=(300, 200)), an_image(size=(50, 60)))
    told, _ = await read(content, Format.IMAGE)
    assert told.without_text == (1, 2, 3)
    assert (await draw(content, Format.IMAGE, page=2)).size == (300, 200)


async def test_of_an_animation_the_first_frame_is_the_page(read: Read) -> None:
    frames = [an_image(str(number), size=(200, 200)) for number in range(3)]
    told, _ = await read(as_bytes(frames[0], "GIF", *frames[1:]), Format.IMAGE)
    assert told.without_text == (1,)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"])
async def test_images_of_every_kind_of_colour_are_drawn_dark_on_light(draw: Read, mode: str) -> None:
    image = an_image("HHHHHH", size=(500, 300))
    image = (
        image.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else image.convert(mode)
    )
    drawn = (await draw(as_bytes(image, "TIFF"), Format.IMAGE)).convert("L")
    assert drawn.getpixel((5, 5)) > 240
    assert drawn.getextrema()[0] < 40


async def test_what_is_transparent_is_drawn_as_paper(draw: Read) -> None:
    empty = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    assert (await draw(as_bytes(empty, "PNG"), Format.IMAGE)).getpixel((25, 25)) == (255, 255, 255)


async def test_a_photograph_is_turned_as_its_camera_was_held(draw: Read) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    an_image(size=(200, 100)).save(buffer, "JPEG", exif=exif)
    assert (await draw(buffer.getvalue(), Format.IMAGE)).size == (100, 200)


async def test_a_large_image_is_scaled_down(draw: Read) -> None:
    drawn = await draw(as_bytes(Image.new("1", (12_000, 3_000), 1), "PNG"), Format.IMAGE)
    assert drawn.size == (8_000, 2_000)


async def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(read: Read, draw: Read) -> None:
    bomb = as_bytes(Image.new("1", (20_000, 20_000), 1), "PNG")
    assert len(bomb) < 200_000
    with pytest.raises(ExtractionLimit, match=rf"400,000,000 pixels; {image_reader.PIXELS:,} at most"):
        await read(bomb, Format.IMAGE)
    with pytest.raises(UnreadablePage):
        await draw(bomb, Format.IMAGE)


async def test_more_pages_than_allowed_are_named(read: Read) -> None:
    frames = [an_image(size=(10, 10)) for _ in range(12)]
    with pytest.raises(ExtractionLimit, match=r"12 pages.*10 at most"):
        await read(as_bytes(frames[0], "TIFF", *frames[1:]), Format.IMAGE, pages=10)


async def test_a_broken_image_is_a_corrupt_file_or_an_unreadable_page(read: Read, draw: Read) -> None:
    with pytest.raises(CorruptFile, match="image is damaged"):
        await read(b"\x89PNG\r\n\x1a\nnothing", Format.IMAGE)
    with pytest.raises(UnreadablePage):
        await draw(as_bytes(an_image("Hello"), "PNG")[:2000], Format.IMAGE)


async def test_a_page_of_a_pdf_is_drawn_as_fine_as_asked(draw: Read) -> None:
    drawn = await draw(a_pdf(["One", "Two"]), Format.PDF, page=2, dots=144)
    assert drawn.size == (1224, 1584)
    assert drawn.convert("L").getextrema()[0] < 60


async def test_a_page_of_metres_is_drawn_within_bounds(draw: Read) -> None:
    huge = a_pdf(["One"]).replace(b"612 792", b"14000 14000")
    drawn = await draw(huge, Format.PDF, dots=300)
    assert drawn.width * drawn.height < 18_100_000  # rounded up to whole pixels


async def test_a_page_that_is_not_there_cannot_be_drawn(draw: Read) -> None:
    with pytest.raises(UnreadablePage):
        await draw(a_pdf(["One"]), Format.PDF, page=2)


async def test_drawing_is_held_to_its_limits(draw: Read, tmp_path: Path) -> None:
    with pytest.raises(UnreadablePage, match="within the limits"):
        await draw(a_scan(["One"]), Format.PDF, dots=300, memory_bytes=8 << 20)


async def test_several_pages_are_drawn_side_by_side(extractor: SubprocessExtractor, tmp_path: Path) -> None:
    source = write(tmp_path / "source", a_scan(["One", "Two", "Three"]))
    jobs = [RenderJob(source, tmp_path / f"{page}.jpg", Format.PDF, page, 100, SMALL) for page in (1, 2, 3)]
    await asyncio.gather(*map(extractor.render, jobs))
    assert all((tmp_path / f"{page}.jpg").stat().st_size > 1000 for page in (1, 2, 3))
