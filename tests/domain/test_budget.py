"""Shares of a provider's budget: no minute sees more than the limit, chat goes first, refusals teach."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.budget import (
    FLOOR_REQUESTS,
    LONGEST_PAUSE,
    MINUTE,
    Budget,
    Limits,
    Share,
    is_free,
    limits_of,
    raised,
    refused,
    share_of,
    wait_for,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NONE = Limits()


def taken(budget: Budget, share: Share, now: datetime) -> Budget:
    """What the one statement of `adapters/postgres/budgets.py` does to the times."""
    return replace(
        budget,
        requests_free_at=max(budget.requests_free_at or now, now) + share.request_cost,
        tokens_free_at=max(budget.tokens_free_at or now, now) + share.token_cost,
    )


@given(
    limit=st.integers(2, 600),
    arrivals=st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=300),
)
def test_no_minute_sees_more_requests_than_the_limit(limit: int, arrivals: list[tuple[float, bool]]) -> None:
    limits, budget, now = Limits(requests=limit), Budget(), NOW
    went: list[datetime] = []
    for pause, urgent in arrivals:
        now += timedelta(seconds=pause)
        share = share_of(limits, tokens=10, urgent=urgent)
        if not wait_for(budget, share, now=now):
            budget = taken(budget, share, now)
            went.append(now)
    for number, first in enumerate(went):
        assert sum(first <= then < first + MINUTE for then in went[number:]) <= limit


@given(limit=st.integers(2, 600), calls=st.integers(1, 200), later=st.floats(0, 30))
def test_chat_waits_for_one_gap_at_most_however_much_ingestion_takes(limit: int, calls: int, later: float) -> None:
    limits, budget, now = Limits(requests=limit), Budget(), NOW
    ingestion, chat = (share_of(limits, tokens=10, urgent=urgent) for urgent in (False, True))
    for _ in range(calls):  # one after another, each as soon as it may
        now += wait_for(budget, ingestion, now=now)
        budget = taken(budget, ingestion, now)
    now += timedelta(seconds=later)
    assert wait_for(budget, chat, now=now) == timedelta(0)
    budget = taken(budget, chat, now)
    assert wait_for(budget, chat, now=now) <= chat.request_cost


def test_chat_does_not_wait_for_the_tokens_of_a_batch() -> None:
    limits, budget = Limits(tokens=60_000), Budget()
    batch, question = share_of(limits, tokens=25_000, urgent=False), share_of(limits, tokens=20, urgent=True)
    budget = taken(budget, batch, NOW)
    assert wait_for(budget, batch, now=NOW) > timedelta(seconds=25)
    assert wait_for(budget, question, now=NOW) == timedelta(0)


@given(limit=st.integers(1000, 1_000_000), sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=100))
def test_ingestion_takes_no_more_tokens_a_minute_than_the_limit_and_one_call(limit: int, sizes: list[int]) -> None:
    limits, budget, now = Limits(tokens=limit), Budget(), NOW
    went: list[tuple[datetime, int]] = []
    for size in sizes:
        share = share_of(limits, tokens=size, urgent=False)
        now += wait_for(budget, share, now=now)
        budget = taken(budget, share, now)
        went.append((now, size))
    for number, (first, _) in enumerate(went):
        inside = [size for then, size in went[number:] if then < first + MINUTE]
        assert sum(inside) <= limit + max(inside)


def test_where_nothing_is_limited_or_paused_no_share_is_needed() -> None:
    assert is_free(Budget(), NONE, now=NOW)
    assert not is_free(Budget(), Limits(requests=10), now=NOW)
    assert not is_free(Budget(adapted=Limits(requests=10)), NONE, now=NOW)
    assert not is_free(Budget(paused_until=NOW + MINUTE), NONE, now=NOW)
    assert is_free(Budget(paused_until=NOW), NONE, now=NOW)


def test_the_lower_one_of_what_is_configured_and_learnt_holds() -> None:
    budget = Budget(adapted=Limits(requests=40, tokens=None))
    assert limits_of(budget, Limits(requests=60, tokens=5000)) == Limits(40, 5000)
    assert limits_of(budget, Limits(requests=30)) == Limits(30, None)


def test_an_unlimited_budget_starts_from_the_rate_at_which_it_was_refused() -> None:
    budget = refused(Budget(requests_seen=101, tokens_seen=50_000), NONE, tokens=0, retry_after=None, now=NOW)
    assert budget.adapted.requests == 70
    assert budget.adapted.tokens == 35_000
    assert budget.lowered_at == NOW


def test_calls_refused_in_one_burst_are_taken_off_the_rate_once_each() -> None:
    # 64 at once where 30 were granted.
    budget = Budget(requests_seen=64, tokens_seen=0)
    for number in range(34):
        now = NOW + timedelta(milliseconds=number)
        budget = refused(budget, NONE, tokens=0, retry_after=None, now=now)
    assert budget.adapted.requests is not None
    assert round(budget.adapted.requests, 6) == 0.7 * 30


def test_a_limit_is_lowered_once_a_minute() -> None:
    budget = Budget(adapted=Limits(requests=100), requests_seen=500, lowered_at=NOW - MINUTE)
    budget = refused(budget, NONE, tokens=0, retry_after=None, now=NOW)
    assert budget.adapted.requests == 70
    later = refused(budget, NONE, tokens=0, retry_after=None, now=NOW + timedelta(seconds=30))
    assert later.adapted.requests == 70
    later = refused(later, NONE, tokens=0, retry_after=None, now=NOW + MINUTE)
    assert later.adapted.requests is not None
    assert round(later.adapted.requests) == 49


def test_a_refusal_of_next_to_no_traffic_pauses_and_teaches_nothing() -> None:
    budget = refused(Budget(requests_seen=2), NONE, tokens=0, retry_after=None, now=NOW)
    assert budget.adapted == NONE
    assert budget.paused_until == NOW + timedelta(seconds=2)


@given(
    limit=st.none() | st.floats(2, 10_000),
    seen=st.floats(0, 10_000),
    pauses=st.lists(st.floats(0, 200), min_size=1, max_size=50),
)
def test_limits_do_not_fall_below_the_floor(limit: float | None, seen: float, pauses: list[float]) -> None:
    budget, now = Budget(adapted=Limits(requests=limit), requests_seen=seen), NOW
    for pause in pauses:
        now += timedelta(seconds=pause)
        budget = refused(budget, NONE, tokens=0, retry_after=None, now=now)
    lowest = budget.adapted.requests
    assert lowest is None or lowest >= min(FLOOR_REQUESTS, limit or FLOOR_REQUESTS)


def test_the_pause_that_the_provider_asks_for_holds_for_everybody_and_is_not_cut_short() -> None:
    budget = refused(Budget(), NONE, tokens=0, retry_after=timedelta(seconds=21), now=NOW)
    budget = refused(budget, NONE, tokens=0, retry_after=timedelta(seconds=1), now=NOW)
    for urgent in (False, True):
        share = share_of(limits_of(budget, NONE), tokens=1, urgent=urgent)
        assert wait_for(budget, share, now=NOW) == timedelta(seconds=21)


def test_a_quota_that_comes_back_tomorrow_is_asked_after_sooner() -> None:
    budget = refused(Budget(), NONE, tokens=0, retry_after=timedelta(hours=20), now=NOW)
    assert budget.paused_until == NOW + LONGEST_PAUSE


def test_without_a_word_from_the_provider_each_pause_is_as_long_as_all_before() -> None:
    budget, now, pauses = Budget(requests_seen=100), NOW, []
    for _ in range(5):
        budget = refused(budget, NONE, tokens=0, retry_after=None, now=now)
        assert budget.paused_until is not None
        pauses.append((budget.paused_until - now).total_seconds())
        now = budget.paused_until
    assert pauses == [2, 2, 4, 8, 16]


def test_after_a_pause_ingestion_begins_with_one_call_and_chat_need_not_wait() -> None:
    budget = refused(Budget(requests_seen=600), NONE, tokens=0, retry_after=timedelta(seconds=5), now=NOW)
    now = NOW + timedelta(seconds=5)
    limits = limits_of(budget, NONE)
    ingestion, chat = (share_of(limits, tokens=0, urgent=urgent) for urgent in (False, True))
    assert wait_for(budget, ingestion, now=now) == timedelta(0)
    budget = taken(budget, ingestion, now)
    assert wait_for(budget, ingestion, now=now) > timedelta(0)
    assert wait_for(budget, chat, now=now) == timedelta(0)


def test_limits_rise_slowly_and_not_above_what_is_configured() -> None:
    configured = Limits(requests=60)
    budget = Budget(adapted=Limits(requests=40), lowered_at=NOW)
    assert raised(budget, configured, now=NOW + timedelta(seconds=10)) == budget
    steps, now = 0, NOW
    while budget.adapted != NONE:
        now += timedelta(seconds=20)
        before = limits_of(budget, configured).requests or 0
        budget = raised(budget, configured, now=now)
        after = limits_of(budget, configured).requests
        assert after is not None
        assert before < after <= min(60, before + 3)
        steps += 1
    assert 5 <= steps <= 10


def test_what_an_unlimited_budget_learnt_is_forgotten_after_an_hour_without_a_refusal() -> None:
    budget = Budget(adapted=Limits(requests=40, tokens=30_000), lowered_at=NOW)
    risen = raised(budget, NONE, now=NOW + timedelta(minutes=59))
    assert risen.adapted == Limits(42, 31_500)
    assert raised(risen, NONE, now=NOW + timedelta(minutes=61)).adapted == NONE
