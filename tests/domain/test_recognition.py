"""What a model's transcript becomes, and what a person is told about pages without text."""

import pytest

from domain.chunks import Page
from domain.recognition import ReadPage, merged, missing_pages, refused_pages, transcript


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("# Title\n\nText.", "# Title\n\nText."),
        ("```markdown\n# Title\n```", "# Title"),
        ("  ```\nText\n```\n", "Text"),
        ("Before\n```\ncode\n```", "Before\n```\ncode\n```"),
        ("[NO TEXT]", ""),
        ("\n[NO TEXT]\n", ""),
        ("```\n[NO TEXT]\n```", ""),
        ("", ""),
    ],
)
def test_the_fence_and_the_word_for_nothing_are_taken_off(answer: str, text: str) -> None:
    assert transcript(answer) == text


def test_a_page_survives_being_stored() -> None:
    page = ReadPage(7, "Größe 😀", calls=1, tokens=300)
    assert ReadPage.from_json(page.to_json()) == page


def test_what_was_read_replaces_its_page_alone() -> None:
    lines = [Page(1, "One").to_line().encode() + b"\n", Page(2, "").to_line().encode() + b"\n"]
    read = {2: ReadPage(2, "Two")}
    once = [merged(line, read) for line in lines]
    assert [Page.from_line(line).text for line in once] == ["One", "Two"]
    assert [merged(line, read) for line in once] == once


def test_few_pages_are_named_all_and_many_in_part() -> None:
    assert missing_pages([3], pages=9, has_text=True).startswith("1 page of 9 (page 3) has no text")
    assert "(pages 1, 2, 3, 4, 5 and 1,195 more) have no text" in missing_pages(
        range(1, 1201), pages=2000, has_text=True
    )
    assert missing_pages([1], pages=1, has_text=False).startswith("The document has no text")


def test_keeping_the_other_pages_is_offered_only_where_they_have_text() -> None:
    assert "keep_text_pages" in missing_pages([3], pages=9, has_text=True)
    assert "keep_text_pages" not in missing_pages([3], pages=9, has_text=False)


def test_pages_that_were_refused_are_named_with_their_reasons() -> None:
    read = [ReadPage(1, "One"), ReadPage(2, "", refused="safety_blocked"), ReadPage(4, "", refused="unreadable_page")]
    assert refused_pages(read) == "Left empty: pages 2, 4 (safety_blocked, unreadable_page). The others were read."
    assert refused_pages(read[:1]) is None
