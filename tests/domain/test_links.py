import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.links import REMOVED, LinkFilter, urls_of

SOURCE = "Opening hours: https://library.example/hours?day=all. More at https://library.example/."


def filtered(*pieces: str) -> str:
    links = LinkFilter([SOURCE])
    return "".join(links.feed(piece) for piece in pieces) + links.finish()


@pytest.mark.parametrize(
    "answer",
    [
        "It opens at nine [1][2].",
        "See https://library.example/hours?day=all.",
        "See [the hours](https://library.example/hours?day=all).",
        "Nine: 3 < 4, a/b, e.g. 1:30 (see [1]).",
        "图书馆九点开门[1]。",
    ],
)
def test_what_a_source_holds_and_what_is_no_link_stays_as_it_is(answer: str) -> None:
    assert filtered(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "https://evil.example/?q=secret",
        "[hours](https://evil.example/a)",
        "[hours](https://library.example/hours?day=all&q=secret.evil.example)",
        "![x](https://evil.example/p.png)",
        "<https://evil.example>",
        "[a][b]\n\n[b]: https://evil.example 'x'",
        '<img src="https://evil.example/p.png">',
        "<a href='//evil.example'>x</a>",
        "//evil.example/x",
        "www.evil.example",
        "HTTPS://EVIL.EXAMPLE/x",
        "[x](https&#58;//evil.example)",
        "[x](https:\\/\\/evil.example)",
        "ht\u200btps://evil.example",
        "https://library.example/@evil.example",
        "https://library.example/数.evil.example",
    ],
)
def test_a_link_that_no_source_holds_is_taken_out(answer: str) -> None:
    shown = filtered(answer)
    assert REMOVED in shown
    assert "evil.example" not in shown.lower()


@pytest.mark.parametrize("answer", ["[x](/turns?stop=1)", "[x]( /turns )", "[x](javascript:alert(1))", "[x](data:a,b)"])
def test_a_target_that_is_no_known_url_is_no_link(answer: str) -> None:
    assert "](" not in filtered(answer)


def test_a_word_is_shown_before_the_next_one_comes() -> None:
    assert LinkFilter([]).feed("First") == "First"


def test_an_image_becomes_a_link_even_where_a_source_holds_its_url() -> None:
    assert filtered("![hours](https://library.example/)") == "[hours](https://library.example/)"


def test_a_tag_becomes_text() -> None:
    assert filtered("<img src=x onerror=y><script>") == "< img src=x onerror=y>< script>"


@given(st.text(alphabet="ht:/[]()!<>&\\. \nw数a\u200b", max_size=60), st.integers(0, 60))
def test_the_output_does_not_depend_on_where_the_stream_was_cut(answer: str, at: int) -> None:
    assert filtered(answer[:at], answer[at:]) == filtered(answer)


@given(st.text(alphabet="ht:/[]()!<>. \nwa", max_size=60))
def test_no_unknown_url_survives(answer: str) -> None:
    assert urls_of(filtered(answer)) <= urls_of(SOURCE)
