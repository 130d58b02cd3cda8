"""How fast work goes on, and how long the rest will take at that pace."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil


@dataclass(frozen=True, slots=True)
class Pace:
    """Pages or chunks a second, and the seconds until all are done."""

    per_second: float
    seconds_left: int


def pace_of(*, begun_at: int, done: int, total: int | None, elapsed: timedelta) -> Pace | None:
    """Judge by what was done in `elapsed`, beginning with `begun_at`; None where nothing can be said yet."""
    seconds = elapsed.total_seconds()
    if total is None or done <= begun_at or seconds <= 0:
        return None
    per_second = (done - begun_at) / seconds
    return Pace(round(per_second, 2), ceil(max(total - done, 0) / per_second))
