"""What of a history a prompt holds."""

from uuid import UUID

import pytest

from domain.conversation import Role, Said, estimate_tokens, history_window, tokens_of, worth_repeating
from domain.ids import MessageId


def said(position: int, *, tokens: int = 10, failed: bool = False) -> Said:
    """Questions stand at odd positions, answers at even ones."""
    role = Role.USER if position % 2 else Role.ASSISTANT
    return Said(MessageId(UUID(int=position)), position, role, tokens, failed)


def positions(lines: list[Said]) -> list[int]:
    return [line.position for line in lines]


def test_a_failed_answer_goes_with_its_question_and_an_empty_one_alone() -> None:
    branch = [said(1), said(2), said(3), said(4, failed=True), said(5), said(6, tokens=0), said(7), said(8)]
    assert positions(worth_repeating(branch)) == [1, 2, 5, 7, 8]


def test_a_failed_answer_whose_question_is_out_of_reach_takes_nothing_else_with_it() -> None:
    assert positions(worth_repeating([said(2, failed=True), said(3), said(4)])) == [3, 4]


@pytest.mark.parametrize(
    ("limit", "budget", "kept"),
    [(10, 1000, [1, 2, 3, 4]), (3, 1000, [2, 3, 4]), (10, 25, [3, 4]), (10, 9, []), (0, 1000, []), (10, 0, [])],
)
def test_the_latest_messages_are_kept_within_number_and_budget(limit: int, budget: int, kept: list[int]) -> None:
    branch = [said(position) for position in range(1, 5)]
    assert positions(history_window(branch, limit=limit, budget=budget)) == kept


def test_a_window_has_no_gaps() -> None:
    branch = [said(1), said(2, tokens=100), said(3)]
    assert positions(history_window(branch, limit=10, budget=50)) == [3]


@pytest.mark.parametrize("text", ["", "a", "abcd", "abcde", "Übergröße", "日本語"])
def test_tokens_are_estimated_the_same_from_a_text_and_from_its_size(text: str) -> None:
    assert estimate_tokens(text) == tokens_of(len(text.encode())) >= (1 if text else 0)
