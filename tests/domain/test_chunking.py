"""Chunks: spans reproduce the text, nothing is lost, order holds, graphemes stay whole."""
# ruff: noqa: A002, A006, RUF001  (`format` is the domain's word; other scripts have look-alikes)

import time
from bisect import bisect_right
from itertools import pairwise

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.chunking import full_text, split
from domain.chunks import Page, PlannedChunk
from domain.documents import Format

CLUSTERS = [
    "a", "b", "Z", "7", " ", " ", "  ", "\n", "\n\n", "\r\n", ".", ". ", "! ", "? ", "。", "！", "؟ ", "। ", ", ", "\t", "\u00a0",
    "é", "e\u0301", "a\u0301\u0302\u0303", " \u0301", "中", "文", "각", "ᄀ", "ᅡ", "ᆨ", "क्षि", "ن", "ا", "שׁ", "\u200f", "\u0600",
    "👍", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "🇫🇷", "🇫", "❤️", "\u200d", "𝒳", "#", "# ", "\n# Title\n", "\n## Sub\n", "\nTitle\n===\n",
    "\n```\n", "\n| a | b |\n", "- ", "---\n", "word", "another", "sentence", "ไทย", "ก็",
]  # fmt: skip
texts = st.lists(st.sampled_from(CLUSTERS) | st.characters(exclude_categories=["Cs"]), max_size=300).map("".join)
documents = st.lists(texts, max_size=6)
sizes = st.integers(1, 120).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))
formats = st.sampled_from(Format)


def pages_of(parts: list[str], format: Format) -> list[Page]:
    return [Page(number if format.is_paged else None, text) for number, text in enumerate(parts, start=1)]


def boundaries(text: str) -> set[int]:
    return {0} | {match.end() for match in regex.finditer(r"\X", text)}


@settings(max_examples=400, deadline=None)
@given(documents, formats, sizes)
@example(["a" * 50, "", "b" * 50], Format.PDF, (10, 5))
@example(["aa👍🏽"], Format.PDF, (2, 1))
@example(["🇩🇪" * 40], Format.TEXT, (7, 3))
@example(["a" + "\u0301" * 300 + "b"], Format.MARKDOWN, (10, 2))
@example(["abc" + " " * 500 + "d" + "\n" * 500], Format.TEXT, (10, 5))
def test_chunks_hold_the_text_in_order_with_whole_graphemes(
    parts: list[str], format: Format, limits: tuple[int, int]
) -> None:
    size, overlap = limits
    pages = pages_of(parts, format)
    text = full_text(pages, format=format)
    whole = boundaries(text)
    position, begin = 0, -1
    for ordinal, chunk in enumerate(split(iter(pages), format=format, size=size, overlap=overlap)):
        assert chunk.ordinal == ordinal
        assert text[chunk.char_start : chunk.char_end] == chunk.content
        assert chunk.content.strip()
        assert not text[position : chunk.char_start].strip(), "text between two chunks is lost"
        assert chunk.char_start > begin
        assert chunk.char_end > position, "a chunk adds nothing"
        assert chunk.char_start >= position - overlap
        assert {chunk.char_start, chunk.char_end} <= whole, "a grapheme is cut"
        assert len(chunk.content) <= size or len(regex.findall(r"\X", chunk.content)) == 1
        position, begin = chunk.char_end, chunk.char_start
    assert not text[position:].strip()


@settings(max_examples=200, deadline=None)
@given(documents, sizes)
def test_pages_are_those_of_the_first_and_last_character(parts: list[str], limits: tuple[int, int]) -> None:
    pages = pages_of(parts, Format.PDF)
    starts = {}
    position = 0
    for page in pages:
        starts[page.number] = (position, position + len(page.text))
        position += len(page.text) + 2
    for chunk in split(pages, format=Format.PDF, size=limits[0], overlap=limits[1]):
        assert chunk.page_from is not None
        assert chunk.page_to is not None
        assert starts[chunk.page_from][0] - 2 <= chunk.char_start < starts[chunk.page_from][1]
        assert starts[chunk.page_to][0] - 2 < chunk.char_end <= starts[chunk.page_to][1]


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.text(alphabet="ab. \n", max_size=60), min_size=1, max_size=6))
def test_every_character_of_a_chunk_knows_its_page(parts: list[str]) -> None:
    pages = [Page(number, part) for number, part in enumerate(parts, start=1)]
    ends, length = [], 0
    for page in pages:
        length += len(page.text) + (2 if length or page.number != 1 else 0)
        ends.append(length)
    for chunk in split(pages, format=Format.PDF, size=40, overlap=10):
        assert chunk.page_from is not None
        for offset in range(len(chunk.content)):
            told = chunk.page_from + bisect_right(chunk.page_starts, offset)
            assert told == 1 + bisect_right(ends, chunk.char_start + offset)


@given(texts, st.integers(1, 50), formats.filter(lambda format: not format.is_paged))
def test_how_a_text_is_cut_into_pieces_does_not_matter(text: str, piece: int, format: Format) -> None:
    pieces = [Page(None, text[at : at + piece]) for at in range(0, len(text), piece)]
    plan = list(split(pieces, format=format, size=60, overlap=20))
    assert plan == list(split([Page(None, text)], format=format, size=60, overlap=20))


@given(texts.filter(str.strip))
def test_a_planned_chunk_and_a_page_survive_a_line_of_json(text: str) -> None:
    chunk = PlannedChunk(3, text, 1, None, 10, 10 + len(text), ("A", text))
    assert "\n" not in chunk.to_line()
    assert PlannedChunk.from_line(chunk.to_line()) == chunk
    assert Page.from_line(Page(None, text).to_line()) == Page(None, text)


def plan(text: str, format: Format = Format.TEXT, size: int = 100, overlap: int = 0) -> list[PlannedChunk]:
    return list(split([Page(None, text)], format=format, size=size, overlap=overlap))


def contents(*args: object, **kwargs: object) -> list[str]:
    return [chunk.content for chunk in plan(*args, **kwargs)]  # type: ignore[arg-type]  # passed on as they came


@pytest.mark.parametrize(
    "stop", [". ", "! ", "? ", "。", "！", "？", "؟ ", "۔ ", "। ", '." '], ids=lambda stop: f"U+{ord(stop[0]):04X}"
)
def test_a_cut_is_made_after_a_sentence_of_any_script(stop: str) -> None:
    first, second = "x" * 30 + " " + "y" * 40 + stop.strip(), "z z" * 20
    between = " " if stop.endswith(" ") else ""
    assert contents(first + between + second)[0] == first


def test_a_paragraph_is_preferred_to_a_sentence() -> None:
    first = "One sentence is here, and it is long enough to count as half."
    assert contents(first + "\n\nTwo. Three. " + "four " * 20)[0] == first


def test_a_chunk_repeats_whole_sentences_of_the_one_before() -> None:
    text = " ".join(f"Sentence number {number} stands here." for number in range(20))
    chunks = plan(text, overlap=40)
    assert len(chunks) > 3
    for before, after in pairwise(chunks):
        assert after.char_start < before.char_end
        assert after.content.startswith("Sentence")


def test_headings_part_chunks_and_name_their_path() -> None:
    body = "Some text that belongs here. " * 2
    text = f"# Guide\n\n{body}\n\n## Install\n\n{body}\n\nOn Linux\n--------\n\n{body}\n\n# Other\n\n{body}"
    chunks = plan(text, Format.MARKDOWN, size=200, overlap=50)
    assert [(chunk.content.splitlines()[0], chunk.heading_path) for chunk in chunks] == [
        ("# Guide", ("Guide",)),
        ("## Install", ("Guide", "Install")),
        ("On Linux", ("Guide", "On Linux")),
        ("# Other", ("Other",)),
    ]


def test_a_heading_stays_with_the_one_below_it() -> None:
    chunks = plan("# Guide\n\n## Install\n\n" + "text " * 15, Format.MARKDOWN, size=120)
    assert [chunk.heading_path for chunk in chunks] == [("Guide", "Install")]


@pytest.mark.parametrize(
    "text",
    [
        "```sh\n# not a heading\n```\n",
        "~~~\n# not a heading\n```\n# nor this\n~~~\n",
        "#hashtag\n",
        "    # indented code\n",
        "---\ntitle: front matter\n---\n",
        "- item\n---\n",
        "| a | b |\n---\n",
        "\n---\n",
        "####### seven\n",
    ],
)
def test_what_only_looks_like_a_heading_is_none(text: str) -> None:
    assert plan(text + "text\n", Format.MARKDOWN)[-1].heading_path == ()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("# A #\nx", ("A",)),
        ("   ### A\tb ###  \nx", ("A\tb",)),
        ("# A\r\nx", ("A",)),
        ("A\n=\nB\n-\nx", ("A", "B")),
        ("# A\n```\n# B\n```\nx", ("A",)),
    ],
)
def test_headings_are_read_as_markdown_says(text: str, path: tuple[str, ...]) -> None:
    assert plan(text, Format.MARKDOWN)[0].heading_path == path


def test_rows_of_a_table_stay_whole() -> None:
    rows = [f"| Row {number}. It has a sentence. | Another one here. |" for number in range(30)]
    for chunk in plan("\n".join(rows), Format.MARKDOWN, size=200, overlap=0):
        assert all(line in rows for line in chunk.content.splitlines())


def test_white_space_alone_makes_no_chunk() -> None:
    assert plan(" \n\t\u00a0" * 5000) == []
    assert list(split([], format=Format.PDF)) == []


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (100, 51), (100, -1)])
def test_limits_that_cannot_hold_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        next(split([Page(None, "x")], format=Format.TEXT, size=size, overlap=overlap))


@pytest.mark.parametrize(
    "unit", ["x", "中", "각", " \u0301", "🇩🇪", "e\u0301", "a ", "\n", ". ", "# h\n", "```\n", "|", "word word. "]
)
def test_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        start = time.thread_time()
        for _ in split((Page(None, text[at : at + 65536]) for at in range(0, length, 65536)), format=Format.MARKDOWN):
            pass
        return time.thread_time() - start

    # Four times the text: four times the work, sixteen where it were quadratic. The thread's own time, the best of
    # three: what else the machine does is no work of ours.
    best = {length: min(seconds(length) for _ in range(3)) for length in (50_000, 200_000)}
    assert best[200_000] < 10 * max(best[50_000], 0.02)


@given(st.lists(st.integers(1, 120), min_size=2, max_size=30), st.integers(0, 60))
def test_no_row_of_a_table_is_cut_where_one_fits(lengths: list[int], overlap: int) -> None:
    rows = [f"| {'x' * length} |" for length in lengths]
    text = "| head |\n| --- |\n" + "\n".join(rows)
    for chunk in plan(text, Format.CSV, size=150, overlap=overlap):
        assert all(line in rows or line in {"| head |", "| --- |"} for line in chunk.content.split("\n"))


def test_pieces_of_one_page_are_one_page() -> None:
    pages = [Page(1, "one " * 20), Page(2, "two " * 20), Page(2, "more " * 20), Page(3, "three")]
    chunks = list(split(pages, format=Format.XLSX, size=1000, overlap=0))
    assert [(chunk.page_from, chunk.page_to, len(chunk.page_starts)) for chunk in chunks] == [(1, 3, 2)]
