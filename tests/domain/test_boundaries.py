import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.boundaries import BoundaryFilter

WORD = "aab1"


def filtered(*pieces: str) -> str:
    stream = BoundaryFilter(WORD)
    return "".join(stream.feed(piece) for piece in pieces) + stream.finish()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("It is aab1.", "It is  ."),
        ("It is AaB1.", "It is  ."),
        ("aaab1", "a "),
        ("aaaab1b1", "aa b1"),
        ("It opens at nine.", "It opens at nine."),
        ("aab", "aab"),
    ],
)
def test_the_word_is_taken_out_and_nothing_else(answer: str, shown: str) -> None:
    assert filtered(answer) == shown


@given(st.text(alphabet="aAbB1 ", max_size=40), st.integers(0, 40))
def test_it_never_comes_through_however_the_stream_was_cut(answer: str, at: int) -> None:
    shown = filtered(answer[:at], answer[at:])
    assert WORD not in shown.lower()
    assert shown == filtered(answer)


def test_no_word_takes_nothing_out() -> None:
    assert BoundaryFilter("").feed("All of it") == "All of it"
