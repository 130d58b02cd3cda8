"""A talk with a bot, and all that can be seen of it from outside."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from tests.gemini_double import Recorded
from tests.person import Sent
from tests.redteam.conftest import House
from tests.redteam.minds import Mind, boundary_of, texts_of

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Turn:
    """A question's answer as it was streamed and as it is stored, and what the model was sent for it."""

    events: list[Sent]
    answer: dict[str, Any]
    requests: list[Recorded]

    @property
    def text(self) -> str:
        return str(self.answer["content"])

    @property
    def generations(self) -> list[dict[str, Any]]:
        return [sent.body for sent in self.requests if sent.endpoint == "generate"]

    @property
    def passages(self) -> dict[int, str]:
        """Texts of the passages by their numbers, as the model read them."""
        found: dict[int, str] = {}
        for body in self.generations:
            word = boundary_of(body)
            fenced = re.compile(rf"{word} passage \[(\d+)\]\n(.*?)\n{word} end \[\1\]", re.DOTALL)
            for _, said in texts_of(body):
                found |= {int(number): text for number, text in fenced.findall(said)}
        return found


async def talk(house: House, mind: Mind, title: str, *questions: str) -> list[Turn]:
    """Ask a document's bot."""
    double = house.deployed.double
    double.reset()
    double.answering, double.completing, double.calling = mind.answer, mind.complete, mind.calls
    conversation = str((await house.person.post(f"/bots/{house.bots[title]}/conversations", json={}))["id"])
    turns = []
    for question in questions:
        seen = len(double.requests)
        async with asyncio.timeout(_SECONDS), house.person.asks(conversation, question) as stream:
            events = [sent async for sent in stream]
        answer = (await house.person.all(f"/conversations/{conversation}/messages"))[-1]
        turns.append(Turn(events, answer, double.requests[seen:]))
    return turns
