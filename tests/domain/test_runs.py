"""The order of attempts."""

from datetime import UTC, datetime, timedelta

from domain.runs import attempt_number, local_attempt_number

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_attempt_that_began_later_has_the_greater_number() -> None:
    numbers = [attempt_number(FIRST + timedelta(seconds=passed)) for passed in (0, 0.4, 1, 15, 86_400, 10**9)]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 5


def test_all_numbers_fit_their_column_and_come_before_those_of_older_releases() -> None:
    for year in (2026, 2089):
        assert -(2**31) < attempt_number(datetime(year, 12, 31, tzinfo=UTC)) < 0


def test_a_local_step_comes_before_the_others_whatever_its_workers_clock_says() -> None:
    numbers = [local_attempt_number(attempt) for attempt in (1, 2, 1000)]
    assert numbers == sorted(set(numbers))
    assert -(2**31) < numbers[0] < numbers[-1] < attempt_number(datetime(2026, 1, 1, tzinfo=UTC))
