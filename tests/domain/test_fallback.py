from datetime import timedelta

import pytest

from domain.errors import (
    ProviderAuth,
    ProviderError,
    ProviderInputRefused,
    ProviderMalformed,
    ProviderModelMissing,
    ProviderNotConfigured,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejected,
    ProviderSilent,
    SafetyBlocked,
)
from domain.fallback import gives_way, to_tell
from domain.providers import in_order

MINUTE = timedelta(minutes=1)


def paused(seconds: float | None) -> ProviderRateLimited:
    return ProviderRateLimited("Wait.", retry_after=None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        (ProviderError("Down."), False, True),
        (ProviderMalformed("Broken."), False, True),
        (ProviderSilent("Silent."), True, True),
        (ProviderAuth("No key."), True, True),
        (ProviderModelMissing("Gone."), True, True),
        (ProviderNotConfigured("No such provider."), True, True),
        (ProviderQuotaExhausted("Spent.", retry_after=timedelta(hours=1)), True, True),
        (paused(None), False, True),
        (paused(5), False, True),
        (paused(5.1), True, True),
        (ProviderRejected("No."), False, False),
        (ProviderInputRefused("No."), False, False),
        (SafetyBlocked("No."), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ProviderError) else str(value),
)
def test_the_next_model_answers_where_the_first_cannot_but_not_where_it_will_not(
    error: ProviderError, first: bool, later: bool
) -> None:
    assert (gives_way(error, attempt=1), gives_way(error, attempt=2)) == (first, later)


def test_the_failure_that_is_told_is_the_last_that_may_pass() -> None:
    down, other, auth = ProviderError("Down."), ProviderError("Down as well."), ProviderAuth("No key.")
    assert to_tell([down, other], patience=MINUTE) is other
    assert to_tell([down, auth], patience=MINUTE) is down
    assert to_tell([auth, down], patience=MINUTE) is down


def test_a_pause_that_nobody_waits_for_is_no_hope() -> None:
    spent, auth = ProviderQuotaExhausted("Spent.", retry_after=timedelta(hours=1)), ProviderAuth("No key.")
    assert to_tell([spent, auth], patience=MINUTE) is auth
    assert to_tell([spent, auth], patience=None) is spent
    assert to_tell([paused(30), auth], patience=MINUTE).code == "provider_rate_limited"


def test_the_models_of_a_bot_come_in_its_order_with_their_providers_and_once() -> None:
    assert in_order("gpt", ["gemini/flash", "gpt", "openai/gpt"], default="openai/gpt-5") == [
        "openai/gpt",
        "gemini/flash",
    ]
    assert in_order(None, [], default="local/extractive") == ["local/extractive"]
