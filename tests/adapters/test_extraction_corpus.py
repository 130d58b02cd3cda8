"""Real and hostile files: their own text or their own error, inside the limits, the worker alive."""

import asyncio
import csv
import json
import re
import unicodedata
from pathlib import Path

from adapters.extraction.extractor import SubprocessExtractor
from domain.documents import Format
from domain.errors import DomainError, EncryptedFile, InvalidInput, NoText, UnreadableText, UnsupportedFormat
from domain.formats import HEAD_BYTES, TAIL_BYTES, detect
from domain.ports import ExtractionJob, ExtractionLimits
from tests.corpus import CORPUS, needs_corpus

LIMITS = ExtractionLimits(memory_bytes=256 << 20, cpu_seconds=3, wall_seconds=15, pages=2000, output_bytes=16 << 20)

pytestmark = needs_corpus()

Outcome = list[str] | DomainError


def rows(kind: str) -> list[dict[str, str]]:
    with (CORPUS / "manifest.tsv").open(newline="") as file:
        manifest = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row for row in manifest if row["kind"] == kind]


def fold(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())


async def read_all(kind: str, folder: Path) -> dict[str, Outcome]:
    """Read every file of a kind with one extractor, two at a time."""
    two = asyncio.Semaphore(2)
    async with SubprocessExtractor() as extractor:

        async def read(path: str) -> Outcome:
            target = folder / Path(path).name
            async with two:
                try:
                    told = await extractor.extract(ExtractionJob(CORPUS / path, target, Format.PDF, LIMITS), _ignore)
                except DomainError as error:
                    return error
            texts = [json.loads(line)["text"] for line in target.read_bytes().splitlines()]
            assert told.pages == len(texts)
            return texts

        paths = [row["path"] for row in rows(kind)]
        return dict(zip(paths, await asyncio.gather(*map(read, paths)), strict=True))


def _ignore(_: int, __: int | None) -> None:
    pass


def expected_error(row: dict[str, str]) -> type[DomainError] | None:
    for words, kind in (("password required", EncryptedFile), ("no text found", NoText), ("unusable", UnreadableText)):
        if words in row["expected"]:
            return kind
    return None


async def test_good_files_give_their_pages_and_snippets_or_the_expected_error(tmp_path: Path) -> None:
    outcomes = await read_all("pdf_ok", tmp_path)
    wrong = []
    for row in rows("pdf_ok"):
        outcome, error = outcomes[row["path"]], expected_error(row)
        if error is not None:
            right = isinstance(outcome, error)
        else:
            right = isinstance(outcome, list) and len(outcome) == int(row["pages"]) and all(
                fold(snippet) in fold(outcome[page - 1]) for snippet, page in json.loads(row["snippets"])
            )  # fmt: skip
        if not right:
            wrong.append((row["path"], outcome))
    assert not wrong


async def test_bad_files_end_in_a_clear_error_or_text_and_never_in_a_crash(tmp_path: Path) -> None:
    outcomes = await read_all("pdf_bad", tmp_path)
    assert len(outcomes) == 46
    for path, outcome in outcomes.items():
        if isinstance(outcome, DomainError):
            assert isinstance(outcome, InvalidInput), (path, outcome)
            assert not outcome.retryable, path
        else:
            text = "".join(outcome)
            assert text.strip(), path
            assert text.encode(), path
            assert "\x00" not in text, path


OFFICE = ExtractionLimits(
    memory_bytes=512 << 20, cpu_seconds=30, wall_seconds=60, pages=2000, output_bytes=16 << 20, archive_bytes=64 << 20
)
# Word keeps a text box twice, for itself and for older programs. Here it is read once; the row's snippet spans both.
TWINS = {"office/docling__textbox.docx": "Whether the epidemic has eased."}
FORBIDDEN = ("MUST_NOT_BE_INDEXED", "TEMPLATE_TEXT", "root:x:0:0", "function(", "<script")


async def read_office(extractor: SubprocessExtractor, row: dict[str, str], folder: Path) -> Outcome:
    """Detect as an upload does, then extract."""
    path = CORPUS / row["path"]
    content = path.read_bytes()
    target = folder / "pages.jsonl"
    try:
        kind, _ = detect(content[:HEAD_BYTES], path.name, None, content[-TAIL_BYTES:])
        await extractor.extract(ExtractionJob(path, target, kind, OFFICE), _ignore)
    except DomainError as error:
        return error
    return [json.loads(line)["text"] for line in target.read_bytes().splitlines()]


def office_fault(row: dict[str, str], outcome: Outcome) -> str:
    """Say what is wrong with an outcome; nothing where it is as the manifest expects."""
    if isinstance(outcome, DomainError):
        may = ("refuse" in row["expected"] or "error" in row["expected"]) and isinstance(
            outcome, InvalidInput | UnsupportedFormat
        )
        return "" if may else f"refused with {outcome.code}"
    if row["expected"] == "refuse":
        return "accepted"
    text = "".join(outcome)
    missing = [
        snippet for snippet, _ in json.loads(row["snippets"]) if fold(snippet) not in fold(text)
        and not (row["path"] in TWINS and snippet.startswith(TWINS[row["path"]]) and TWINS[row["path"]] in text)
    ]  # fmt: skip
    found = [word for word in FORBIDDEN if word in text]
    return f"missing {missing}, forbidden {found}" if missing or found or not text.strip() else ""


async def test_office_files_give_their_snippets_or_a_clear_error_and_nothing_forbidden(tmp_path: Path) -> None:
    assert len(rows("office")) == 49
    async with SubprocessExtractor() as extractor:
        outcomes = [(row, await read_office(extractor, row, tmp_path)) for row in rows("office")]
    wrong = [(row["path"], fault) for row, outcome in outcomes if (fault := office_fault(row, outcome))]
    assert not wrong
    assert {path.name for path in tmp_path.iterdir()} <= {"pages.jsonl"}  # noqa: ASYNC240  (small)


def test_no_archive_of_the_corpus_wrote_outside_of_its_folder() -> None:
    assert not Path("/tmp/evil_zip_slip.txt").exists()  # noqa: S108  (the name that a file of the corpus asks for)


async def test_arabic_of_a_pdf_is_spelled_as_it_is_read(tmp_path: Path) -> None:
    target = tmp_path / "pages"
    async with SubprocessExtractor() as extractor:
        await extractor.extract(
            ExtractionJob(CORPUS / "pdf_ok/docling__right_to_left_01.pdf", target, Format.PDF, LIMITS), lambda *_: None
        )
    text = "".join(json.loads(line)["text"] for line in target.read_bytes().splitlines())
    assert "الإنتاجية" in text
    assert "المشكلات" in text
    assert "التي" in text, "an article is no ligature"
