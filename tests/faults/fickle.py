"""A model that says something else each time, and what a client sees of it."""

from dataclasses import replace
from typing import Any

from tests.gemini_double import Fault, GeminiDouble
from tests.person import FINAL, Person, Sent, shown

QUESTION = "Where does the spare key hang?"
HANDBOOK = b"The spare key hangs on hook 31 in the porter's lodge. Whoever takes it signs for it."
QUOTE = "The spare key hangs on hook 31"
TOKENS = 2000


class Fickle:
    """Long first, and short ever after."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, body: dict[str, Any]) -> str:  # noqa: ARG002  (whatever it is asked)
        self.calls += 1
        return self.answer(self.calls)

    def answer(self, call: int) -> str:
        words = " ".join(f"word{number}" for number in range(TOKENS + 50 if call == 1 else 20))
        return f'Answer {call}: "{QUOTE}" [1], {words}.'


async def asked(
    person: Person, double: GeminiDouble, *faults: Fault, bot: str = ""
) -> tuple[list[Sent], dict[str, Any]]:
    """What a client is sent, and the answer that is stored then.

    Each fault happens when the client has seen all that was streamed before it.
    """
    double.script("generate", *(replace(fault, held=True) for fault in faults))
    conversation = str((await person.post(f"/bots/{bot or person.bot}/conversations", json={}))["id"])
    left = [fault.after for fault in faults]
    events: list[Sent] = []
    async with person.asks(conversation, QUESTION) as stream:
        async for sent in stream:
            events.append(sent)
            if left and double.reached.is_set() and len(shown(events).split()) >= left[0]:
                left.pop(0)
                double.go_on()
    assert not left
    assert [sent.id for sent in events] == list(range(1, len(events) + 1))
    assert [sent.event for sent in events if sent.event in FINAL] == [events[-1].event]
    question, answer = await person.all(f"/conversations/{conversation}/messages")
    assert question["content"] == QUESTION
    assert answer["content"] == shown(events)
    return events, answer
