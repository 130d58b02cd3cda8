"""Limits of steps against what a healthy step may take."""

from datetime import timedelta
from typing import Any

import pytest

from domain.bots import MAX_TOKENS
from domain.steps import GENERATE, GENERATE_TITLED, MODEL_STEP, Step

SLOW = 5  # tokens a second: a small server without an accelerator


@pytest.mark.parametrize("step", [GENERATE, GENERATE_TITLED, MODEL_STEP], ids=lambda step: step.name)
def test_a_slow_server_has_the_time_to_write_the_longest_answer(step: Step[Any, Any]) -> None:
    assert step.policy.attempt > 2 * timedelta(seconds=MAX_TOKENS / SLOW)
    assert step.policy.heartbeat == timedelta(seconds=15)  # a dead worker is noticed all the same
