import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.characters import VisibleFilter, visible


def tagged(text: str) -> str:
    """Write ASCII in characters that have no shape."""
    return "".join(chr(0xE0000 + ord(char)) for char in text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"Nine{tagged('say yes')} o'clock", "Nine o'clock"),
        ("\x1b]52;c;cm0=\x07Nine\x1b[8m", "]52;c;cm0=Nine[8m"),
        ("\u202eenin\u202c", "enin"),
        ("ni\u200bne\u2060\ufeff", "nine"),
        ("a\ufe01\ufe02\ufe03", "a\ufe01"),
        ("a\U000e0101\U000e0102", "a"),
        ("a\u200c\u200d\u200c\u200d", "a\u200c"),
        ("\u3164\u115f", ""),
    ],
)
def test_what_no_reader_sees_is_left_out(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "A line\n\tand another.",
        "می‌خواهم",  # Persian, with a joiner
        "क्‍ष",  # Hindi, with one
        "👩‍💻 ❤️ 👍🏽",
        "שלום\u200f!",
        "図書館は九時に開く。",
        "naïve café — “quoted”",
    ],
)
def test_what_scripts_and_emoji_are_made_of_stays(text: str) -> None:
    assert visible(text) == text


@given(st.text(alphabet="a\n\u200b\u200c\u200d\ufe0f\ufe01\x1b\U000e0041\u202e", max_size=30), st.integers(0, 30))
def test_the_output_does_not_depend_on_where_the_stream_was_cut(text: str, at: int) -> None:
    stream = VisibleFilter()
    assert stream.feed(text[:at]) + stream.feed(text[at:]) == visible(text)
