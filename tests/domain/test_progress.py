"""An estimate says what can be known, and nothing before."""

from datetime import timedelta

import pytest

from domain.progress import Pace, pace_of


@pytest.mark.parametrize(
    ("begun_at", "done", "total", "seconds", "pace"),
    [
        (0, 100, 400, 10, Pace(10.0, 30)),
        (0, 3, 10, 2, Pace(1.5, 5)),
        (500, 600, 900, 10, Pace(10.0, 30)),
        (0, 400, 400, 10, Pace(40.0, 0)),
        (0, 0, 400, 10, None),
        (500, 500, 900, 10, None),
        (0, 100, None, 10, None),
        (0, 100, 400, 0, None),
    ],
    ids=[
        "the rest at the pace so far", "rounded up", "what was there before is no pace", "all is done", "nothing is done",
        "nothing is done since", "the total is not known", "no time has passed",
    ],
)  # fmt: skip
def test_the_pace_is_judged_by_what_was_done_since_it_began(
    begun_at: int, done: int, total: int | None, seconds: float, pace: Pace | None
) -> None:
    assert pace_of(begun_at=begun_at, done=done, total=total, elapsed=timedelta(seconds=seconds)) == pace
