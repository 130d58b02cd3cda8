"""A turn's events as chunks of a chat completion, until the answer is whole.

What was sent cannot be taken back in this protocol. A generation that starts again is followed without a word as
long as it repeats what was sent, and goes on from there; where it says something else, the stream ends with an
error that names where the whole answer will be. So a stream that ends well has said what is stored. What an agent
writes may be a thought before a call, which is no part of its answer: it is held until the answer is whole.
"""

from typing import Any, Literal

from adapters.postgres.turn_events import Event
from api.openai.citations import Names, chat_annotations, usage_of
from api.openai.errors import failure_body, said
from domain.conversation import EventType
from domain.messages import Failure, Message, MessageStatus

FinishReason = Literal["stop", "length"]
RESTARTED = "answer_restarted"


class Restarted(Exception):
    """The generation started again and says something else than what was sent."""


class Chunks:
    """Chunks of one stream; `head` is what every chunk begins with, `site` this server's own address."""

    def __init__(self, head: dict[str, Any], *, site: str, include_usage: bool, held: bool = False) -> None:
        self._head = {**head, "object": "chat.completion.chunk"}
        self._site = site
        self._usage = {"usage": None} if include_usage else {}
        self._held = held
        self._begun = False
        self._sent = ""
        self._fresh = ""  # of the generation that writes now
        self.names: Names = {}  # of the files that the answer cites
        self.ended_well = False

    def feed(self, event: Event) -> list[dict[str, Any]]:
        """Take the next event; give what is to be sent."""
        try:
            return [*self._beginning(), *self._told(event)]
        except Restarted:
            where = f"/openai/v1/responses/{self._head['id'].replace('chatcmpl-', 'resp_')}"
            text = f"The answer was begun again and differs from what was sent. Read the whole of it at {where}."
            return [said("server_error", RESTARTED, text)]

    def _beginning(self) -> list[dict[str, Any]]:
        if self._begun:
            return []
        self._begun = True
        return [self._chunk({"role": "assistant", "content": ""})]

    def _told(self, event: Event) -> list[dict[str, Any]]:
        if event.type is EventType.DELTA:
            self._fresh += event.data["text"]
            return [] if self._held else self._advance(self._fresh)
        if event.type is EventType.RESET:
            self._fresh = ""
        elif event.type is EventType.FAILED:
            return [failure_body(Failure.model_validate(event.data["error"]))]
        elif event.type in (EventType.COMPLETED, EventType.CANCELLED):
            return self._end(Message.model_validate(event.data["message"]), event.data.get("cut_off", False))
        return []

    def _advance(self, text: str) -> list[dict[str, Any]]:
        """Send what `text` has beyond what was sent."""
        if self._sent.startswith(text):
            return []
        if not text.startswith(self._sent):
            raise Restarted
        piece = text[len(self._sent) :]
        self._sent = text
        return [self._chunk({"content": piece})]

    def _end(self, answer: Message, cut_off: bool) -> list[dict[str, Any]]:
        rest = self._advance(answer.content)
        if self._sent != answer.content:
            raise Restarted
        cited = [each.model_dump() for each in chat_annotations(answer, self._site, self.names)]
        self.ended_well = True
        last = self._chunk({"annotations": cited} if cited else {}, finish_reason(answer, cut_off), answer.model)
        ended = [*rest, last]
        if self._usage:
            ended.append({**self._head, "choices": [], "usage": usage_of(answer).model_dump()})
        return ended

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, model: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "system_fingerprint": model, "choices": [choice], **self._usage}


def finish_reason(answer: Message, cut_off: bool) -> FinishReason:
    """Tell a whole answer from one that was stopped, or whose tokens were spent."""
    return "length" if cut_off or answer.status is not MessageStatus.COMPLETE else "stop"
