"""One contract, two recognisers: Tesseract of the system, and Gemini's client before the double."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.extraction.extractor import SubprocessExtractor
from adapters.models import tesseract
from adapters.models.gemini import open_gemini
from adapters.models.gemini_recognition import GeminiRecognizer
from adapters.models.providers import recognizer_of
from adapters.models.tesseract import TesseractRecognizer, installed_languages
from adapters.settings import Settings
from domain.documents import Format
from domain.errors import (
    ExtractionCrashed,
    ProviderAuth,
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    SafetyBlocked,
    UnreadablePage,
)
from domain.ports import RecognizedPage, RenderJob, TextRecognizer
from domain.recognition import INSTRUCTION
from tests import gemini_double
from tests.gemini_double import GeminiDouble, running_double
from tests.page_images import an_image, as_bytes, needs_tesseract
from tests.pdf_files import write

TEXT = "Remuneration of the board\n\nThe members receive 48,000 crowns a year."


def settings_for(url: str = "", **chosen: Any) -> Settings:
    return Settings(_env_file=None, provider="gemini", gemini_api_key="key", gemini_base_url=url, **chosen)


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        yield double


@pytest_asyncio.fixture
async def gemini(double: GeminiDouble) -> AsyncIterator[GeminiRecognizer]:
    async with open_gemini(settings_for(double.url)) as (_, generator):
        yield generator.page_reader(timedelta(seconds=10))


def a_tesseract(**chosen: Any) -> TesseractRecognizer:
    given: dict[str, Any] = {"turns": True, "processes": 2, "seconds": 60, **chosen}
    return TesseractRecognizer(["eng"], **given)


@pytest.fixture(params=["gemini", pytest.param("tesseract", marks=needs_tesseract)])
def recognizer(request: pytest.FixtureRequest, gemini: GeminiRecognizer, double: GeminiDouble) -> TextRecognizer:
    double.transcript = TEXT
    return gemini if request.param == "gemini" else a_tesseract()


def a_page(folder: Path, text: str = TEXT, *, turned: int = 0) -> Path:
    return write(folder / "page.jpg", as_bytes(an_image(text, turned=turned), "JPEG"))


async def test_a_page_is_read_and_its_cost_told(recognizer: TextRecognizer, tmp_path: Path) -> None:
    page = await recognizer.recognize(a_page(tmp_path))
    assert page.text.split() == TEXT.split()
    assert (page.tokens > 0) is recognizer.is_provider
    assert recognizer.model


async def test_a_page_without_text_is_empty(recognizer: TextRecognizer, double: GeminiDouble, tmp_path: Path) -> None:
    double.transcript = "[NO TEXT]"
    assert (await recognizer.recognize(a_page(tmp_path, ""))).text == ""


async def test_several_pages_are_read_side_by_side(recognizer: TextRecognizer, tmp_path: Path) -> None:
    image = a_page(tmp_path)
    pages = await asyncio.gather(*[recognizer.recognize(image)] * 1, *(recognizer.recognize(image) for _ in range(2)))
    assert {tuple(page.text.split()) for page in pages} == {tuple(TEXT.split())}


async def test_a_cancelled_page_is_left_at_once(gemini: GeminiRecognizer, double: GeminiDouble, tmp_path: Path) -> None:
    double.script("read", gemini_double.stalled())
    reading = asyncio.create_task(gemini.recognize(a_page(tmp_path)))
    await double.reached.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@needs_tesseract
@pytest.mark.parametrize("turned", [90, 180, 270])
async def test_tesseract_reads_turned_pages(tmp_path: Path, turned: int) -> None:
    if "osd" not in installed_languages():
        pytest.skip("Tesseract's model of orientations is not installed (apt-get install tesseract-ocr-osd)")
    lines = "\n".join(f"The members receive {number} thousand crowns a year." for number in range(20))
    page = await a_tesseract().recognize(a_page(tmp_path, lines, turned=turned))
    assert "The members receive 7 thousand crowns a year." in page.text


@needs_tesseract
async def test_tesseract_is_stopped_when_a_page_takes_too_long(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePage, match="CHATSPHERE_OCR_SECONDS"):
        await a_tesseract(seconds=0).recognize(a_page(tmp_path))


@needs_tesseract
async def test_tesseract_is_held_to_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tesseract, "_MEMORY", 30 << 20)
    with pytest.raises(UnreadablePage):
        await a_tesseract().recognize(a_page(tmp_path))


@needs_tesseract
async def test_what_is_no_image_is_an_unreadable_page(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePage):
        await a_tesseract().recognize(write(tmp_path / "page.jpg", b"nothing"))


async def test_a_tesseract_that_was_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tesseract, "PROGRAM", "tesseract-that-is-not-there")
    with pytest.raises(ExtractionCrashed, match="Install it"):
        await a_tesseract().recognize(a_page(tmp_path))


async def test_gemini_is_sent_the_image_and_told_to_copy_it(
    gemini: GeminiRecognizer, double: GeminiDouble, tmp_path: Path
) -> None:
    image = a_page(tmp_path)
    await gemini.recognize(image)
    [call] = double.requests
    [part] = call.body["contents"][0]["parts"]
    assert part["inlineData"]["mime_type"] == "image/jpeg"
    assert base64.urlsafe_b64decode(part["inlineData"]["data"]) == image.read_bytes()
    assert call.body["systemInstruction"]["parts"] == [{"text": INSTRUCTION}]
    assert call.body["generationConfig"]["temperature"] == 0.0


async def test_tokens_of_both_directions_are_counted(
    gemini: GeminiRecognizer, double: GeminiDouble, tmp_path: Path
) -> None:
    double.transcript = "x" * 396
    assert await gemini.recognize(a_page(tmp_path)) == RecognizedPage("x" * 396, tokens=2200)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (gemini_double.rate_limited("7s"), ProviderRateLimited),
        (gemini_double.error(500), ProviderError),
        (gemini_double.error(400, "API_KEY_INVALID"), ProviderAuth),
        (gemini_double.malformed(), ProviderMalformed),
        (gemini_double.dropped(), ProviderError),
        (gemini_double.prompt_blocked(), SafetyBlocked),
        (gemini_double.finished_for("SAFETY"), SafetyBlocked),
        (gemini_double.finished_for("RECITATION"), SafetyBlocked),
        (gemini_double.finished_for("OTHER"), ProviderError),
        (gemini_double.finished_for("MAX_TOKENS"), UnreadablePage),
    ],
    ids=lambda value: f"{value.kind} {value.reason}" if isinstance(value, gemini_double.Fault) else value.__name__,
)
async def test_what_goes_wrong_has_its_own_error(
    gemini: GeminiRecognizer, double: GeminiDouble, tmp_path: Path, fault: gemini_double.Fault, error: type[Exception]
) -> None:
    double.script("read", fault)
    with pytest.raises(error) as caught:
        await gemini.recognize(a_page(tmp_path))
    assert type(caught.value) is error
    assert "SECRET" not in str(caught.value)


async def test_gemini_is_not_waited_for_longer_than_allowed(double: GeminiDouble, tmp_path: Path) -> None:
    double.script("read", gemini_double.stalled())
    async with open_gemini(settings_for(double.url)) as (_, generator):
        with pytest.raises(ProviderError, match="in time"):
            await generator.page_reader(timedelta(milliseconds=100)).recognize(a_page(tmp_path))


@pytest.fixture
def languages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    installed = {"eng", "deu", "osd"}
    monkeypatch.setattr("adapters.models.providers.installed_languages", lambda: frozenset(installed))
    return installed


@pytest.mark.usefixtures("languages")
def test_the_provider_goes_before_tesseract(gemini: GeminiRecognizer) -> None:
    assert recognizer_of(settings_for(), gemini) is gemini
    assert recognizer_of(settings_for(ocr="provider"), gemini) is gemini


@pytest.mark.usefixtures("languages")
def test_tesseract_can_be_preferred(gemini: GeminiRecognizer) -> None:
    assert isinstance(recognizer_of(settings_for(ocr="tesseract"), gemini), TesseractRecognizer)


@pytest.mark.usefixtures("languages")
def test_tesseract_serves_a_provider_that_reads_no_images() -> None:
    chosen = recognizer_of(Settings(_env_file=None, ocr_languages="deu+eng+fra"))
    assert chosen is not None
    assert chosen.model == "tesseract/deu+eng"


@pytest.mark.usefixtures("languages")
def test_without_its_languages_there_is_none() -> None:
    assert recognizer_of(Settings(_env_file=None, ocr_languages="fra")) is None


def test_without_either_there_is_none(languages: set[str]) -> None:
    languages.clear()
    assert recognizer_of(Settings(_env_file=None)) is None


@pytest.mark.usefixtures("languages")
def test_it_can_be_turned_off(gemini: GeminiRecognizer) -> None:
    assert recognizer_of(settings_for(ocr="off"), gemini) is None


def test_a_provider_that_reads_no_images_cannot_be_asked_to() -> None:
    with pytest.raises(ValueError, match="needs CHATSPHERE_GEMINI_API_KEY"):
        Settings(_env_file=None, ocr="provider")


def test_no_tesseract_speaks_no_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert installed_languages() == frozenset()


@needs_tesseract
async def test_from_a_pdf_to_its_text(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.pdf", as_bytes(an_image(TEXT), "PDF"))
    async with SubprocessExtractor() as extractor:
        await extractor.render(RenderJob(source, tmp_path / "page.jpg", Format.PDF, 1, 300))
    assert (await a_tesseract().recognize(tmp_path / "page.jpg")).text.split() == TEXT.split()
