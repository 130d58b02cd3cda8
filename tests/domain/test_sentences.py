"""Sentences of text as documents and PDFs give it: wrapped lines, titles, lists, abbreviations."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sentences import sentence_spans, title_ends


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


PROSE = "A member may borrow up to six books at a time. Each may be kept for four weeks."


def test_a_title_right_above_its_text_is_no_part_of_the_first_sentence() -> None:
    assert sentences(f"Borrowing\n{PROSE}") == [
        "Borrowing", "A member may borrow up to six books at a time.", "Each may be kept for four weeks.",
    ]  # fmt: skip


def test_titles_above_each_other_and_after_a_sentence_are_found() -> None:
    text = f"Library handbook\nBorrowing\n{PROSE}\nLost and damaged books\nA lost book costs its price in the shop and a fee."
    assert [text[:end].split("\n")[-1] for end in title_ends(text)] == [
        "Library handbook", "Borrowing", "Lost and damaged books",
    ]  # fmt: skip
    assert "A lost book costs its price in the shop and a fee." in sentences(text)


@pytest.mark.parametrize(
    "text",
    [
        "The treaty was signed in the capital of the\nUnited States by all of the members that were there.",
        "The treaty was signed by Anna\nSmith.",
        "It begins on page 7 with the words of the first\nPresident. More follows.",
        "He was born in\nOslo.",
        "The members of the board met in the rooms of Anna\nSmith, who had asked them for a decision on the new roof.",
        "We met her in the old town of\nBergen, which lies at the sea, on a day without any rain at all.",
        "In this report, written by the\nMinistry, the first chapter tells of the years that went before it.",
        "among them\nNorway, Sweden and Denmark, whose laws on libraries were the oldest at the time.",
        "Members, guests and\nVisitors may all read in the hall for as long as it is open to the public.",
        "Opening hours:\nOn weekdays the library is open from nine in the morning to six in the evening.",
    ],
)
def test_a_wrapped_line_is_no_title(text: str) -> None:
    assert title_ends(text) == []


def test_a_short_last_line_of_a_paragraph_is_no_title() -> None:
    text = "The building was designed by an architect who came from\nOslo and\nLondon with a plan for a roof made of copper."
    assert title_ends(text) == []
    assert len(sentences(text)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Miller came. She left at 3.5 p.m. sharp.", ["Dr. Miller came.", "She left at 3.5 p.m. sharp."]),
        ("It is closed.[7] It has a roof.", ["It is closed.[7]", "It has a roof."]),
        ("图书馆九点开门。周日关闭。", ["图书馆九点开门。", "周日关闭。"]),
        ("Bring:\n- a card\n- a coat", ["Bring:", "- a card", "- a coat"]),
        ("Above\n\nBelow", ["Above", "Below"]),
        ("It goes on\nover the line.", ["It goes on\nover the line."]),
    ],
)
def test_sentences_are_cut_where_they_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet=st.sampled_from("Aab .!?\n\t-1。\"'("), max_size=80))
def test_every_character_but_white_space_is_in_one_span_and_order_holds(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


def test_white_space_of_any_length_ends_one_sentence() -> None:
    # Hours, where each character of it is a place to begin.
    assert sentences(f"One.{' ' * 200_000}Two.\n{' ' * 200_000}\nThree.") == ["One.", "Two.", "Three."]
