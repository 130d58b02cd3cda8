"""What was said elsewhere becomes exchanges."""

from itertools import count
from uuid import UUID

from domain.conversation import Role
from domain.transcripts import exchanges, title_of

USER, BOT = Role.USER, Role.ASSISTANT


def told(*said: tuple[Role, str]) -> list[tuple[str, str]]:
    numbers = count(1)
    found = exchanges(said, mint=lambda: UUID(int=next(numbers)))
    ids = [id_ for each in found for id_ in (each.turn_id, each.question_id)]
    assert len(set(ids)) == len(ids)
    return [(each.question, each.answer) for each in found]


def test_each_question_begins_an_exchange_and_the_answer_after_it_is_its_own() -> None:
    assert told((USER, "One?"), (BOT, "1."), (USER, "Two?"), (BOT, "2.")) == [("One?", "1."), ("Two?", "2.")]


def test_a_question_that_nobody_answered_and_a_greeting_that_nobody_asked_for_stay_alone() -> None:
    assert told((BOT, "Welcome."), (USER, "One?"), (USER, "Two?"), (BOT, "2.")) == [
        ("", "Welcome."), ("One?", ""), ("Two?", "2."),
    ]  # fmt: skip


def test_pieces_of_one_answer_are_joined_and_blank_messages_left_out() -> None:
    assert told((USER, "One?"), (BOT, "1."), (BOT, " "), (BOT, "And more."), (USER, "")) == [
        ("One?", "1.\n\nAnd more.")
    ]
    assert told() == []


def test_a_title_is_the_first_line_and_not_too_long() -> None:
    assert title_of("  How long?\nSay it.") == "How long?"
    assert title_of("x" * 81) == "x" * 79 + "…"
    assert title_of("x" * 80) == "x" * 80
