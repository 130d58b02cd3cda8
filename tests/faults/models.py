"""A model that stands behind the double: what it says to whom, and what was asked of it in which turn."""

import json
import re
from collections import Counter
from typing import Any

from tests.gemini_double import GeminiDouble

HANDBOOK = "The spare key hangs on hook 31 in the porter's lodge. Whoever takes it signs for it."
NOTES = "The bicycle cellar is swept on Fridays. The caretaker has the broom."
QUOTE = "The spare key hangs on hook 31"
UNKNOWN = "Nobody wrote down where it hangs."
TITLE = "The spare key"
_ASKED = "Where does the spare key hang, asked while it is to {step}?"
_QUESTION = re.compile(_ASKED.replace("?", "[?]").format(step="[^?]+"))
_WORDS = 30

Call = tuple[str, dict[str, Any]]

# How a short call begins, what it is called here, and what is said to it.
_SHORT = {
    "You keep the notes": ("summarize", "They spoke of keys."),
    "You write search queries": ("understand", "SAME"),
    "You put passages": ("rerank", "1"),
    "Name a conversation": ("title", TITLE),
}


def asked(step: str) -> str:
    """What is asked in the turn of a step, or of a name like it."""
    return _ASKED.format(step=step)


def asked_on(step: str) -> str:
    """What the bot of a step asks another one."""
    return asked(f"{step} in its turn")


def answer(question: str, call: int) -> str:
    """What the model says at the n-th call for a question: never the same twice, so that a mixture shows."""
    words = " ".join(f"word{number}" for number in range(_WORDS))
    return f'Answer {call} to "{question}" is {words} and "{QUOTE}" [1].'


class Model:
    """Stands behind the double, and counts the answers that it is asked for to each question."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.tools: dict[str, list[Call]] = {}
        """What it calls before it answers a question."""

    def __call__(self, body: dict[str, Any]) -> str:
        question = _question(body)
        self.calls[question] += 1
        return answer(question, self.calls[question])

    def plan(self, body: dict[str, Any]) -> list[Call]:
        """Call a question's tools, until what they gave is told."""
        told = any("functionResponse" in part for content in body["contents"] for part in content["parts"])
        return [] if told else self.tools.get(_question(body), [])

    def complete(self, body: dict[str, Any]) -> str:
        """Say what a short call asks for."""
        return _short(body)[1]


def short_calls(double: GeminiDouble, step: str) -> Counter[str]:
    """Count the short calls that came for the turn of a step, by what they ask for."""
    of = [each.body for each in double.requests if each.endpoint == "complete" and f"{step}?" in _written(each.body)]
    return Counter(_short(body)[0] for body in of)


def charged(double: GeminiDouble, step: str) -> Counter[str]:
    """Count the answers, steps of an agent and vectors of a search that were asked for in the turn of a step."""
    asked_for = [each for each in double.requests if each.endpoint in {"generate", "embed"}]
    questions = {asked(step), asked_on(step)}
    return Counter(each.endpoint for each in asked_for if _question(each.body) in questions)


def _short(body: dict[str, Any]) -> tuple[str, str]:
    return next(short for words, short in _SHORT.items() if words in _written(body["systemInstruction"]))


def _question(body: dict[str, Any]) -> str:
    """Find what a person asked last; what a tool gave is no text of theirs."""
    contents = body["contents"] if "contents" in body else [each["content"] for each in body["requests"]]
    said = [part.get("text", "") for content in contents for part in content["parts"] if content["role"] == "user"]
    return str((_QUESTION.findall("\n".join(said)) or [""])[-1])


def _written(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)
