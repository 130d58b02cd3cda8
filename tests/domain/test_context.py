"""A chunk's surroundings, put together from chunks that overlap or leave white space out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.chunking import full_text, split
from domain.chunks import Page
from domain.context import Span, around, joined
from domain.documents import Format

TEXT = "One is first. Two is second.\n\nThree is third."


def spans(*places: tuple[int, int]) -> list[Span]:
    return [Span(start, TEXT[start:end]) for start, end in places]


def test_overlaps_are_told_once_and_white_space_is_stood_in_for() -> None:
    whole = joined(spans((0, 13), (7, 28), (30, 45)))
    assert (whole.char_start, whole.char_end) == (0, 45)
    assert whole.content == "One is first. Two is second.\n Three is third."


def test_a_piece_within_another_adds_nothing() -> None:
    assert joined(spans((0, 28), (4, 13), (14, 28))).content == TEXT[:28]


@pytest.mark.parametrize(
    ("reach", "before", "after"), [(0, "", ""), (5, "rst. ", "\n Thr"), (99, TEXT[:14], "\n Three is third.")]
)
def test_so_much_of_the_text_around_is_shown(reach: int, before: str, after: str) -> None:
    assert around(spans((14, 28))[0], spans((0, 13), (14, 28), (30, 45)), reach) == (before, after)


def test_a_neighbour_behind_more_white_space_than_is_shown_is_left_out() -> None:
    chunk, far = Span(0, "One."), Span(10**15, "Two.")  # whose distance no memory would hold
    assert around(chunk, [chunk, far], 1000) == ("", "")
    assert around(far, [chunk, far], 1000) == ("", "")


@given(st.lists(st.text("ab \n.", min_size=1, max_size=120), min_size=1, max_size=4))
def test_every_character_of_a_chunk_keeps_its_place(texts: list[str]) -> None:
    pages = [Page(number + 1, text) for number, text in enumerate(texts)]
    whole = full_text(pages, format=Format.PDF)
    planned = [Span(chunk.char_start, chunk.content) for chunk in split(pages, format=Format.PDF, size=20, overlap=6)]
    if not planned:
        return
    text = joined(planned)
    shown = "".join(a if not a.isspace() else b for a, b in zip(text.content, whole[text.char_start :], strict=False))
    assert text.content.split() == whole[text.char_start : text.char_end].split()
    assert shown == whole[text.char_start : text.char_end]
