"""Headers that say how an answer is to come."""

import pytest

from api.preferences import names

EVENTS = "text/event-stream"


@pytest.mark.parametrize(
    "header",
    ["text/event-stream", "Text/Event-Stream", "application/json, text/event-stream;q=0.5", "text/event-stream ; q=1, */*",
     'a/b;x="1,2",text/event-stream;charset=utf-8', "text/event-stream;q=0.001"],
)  # fmt: skip
def test_a_header_names_what_it_lists(header: str) -> None:
    assert names(header, EVENTS)


@pytest.mark.parametrize(
    "header",
    ["", "*/*", "text/*", "text/event-streams", "x-text/event-stream", "text/event-stream;q=0", "text/event-stream; Q=0.000",
     'a/b;x="text/event-stream, text/event-stream"', ",;,"],
)  # fmt: skip
def test_a_header_does_not_name_what_it_holds_otherwise_or_refuses(header: str) -> None:
    assert not names(header, EVENTS)


def test_a_preference_is_a_token_among_others() -> None:
    assert names("wait=10, Respond-Async", "respond-async")
    assert not names("not-respond-async", "respond-async")
    assert not names('note="a, respond-async"', "respond-async")
