"""A turn's stored events as the events of a response's stream.

The numbers are counted along the stored events, from the first on, so that the same event has the same number
whichever process counts, and a client goes on after the last one that it has seen. A text that is dropped, since its
generation is begun again or was an agent's thought, ends its item as `incomplete` and empty, and a new item begins:
the item that ends as `completed` is the answer that is stored.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

from adapters.postgres.turn_events import Event
from api.openai.citations import Names
from api.openai.errors import answer_deleted
from api.openai.response_objects import ended_as, item_id, output_message, output_text, response_of
from api.openai.schemas.responses import ItemStatus, OpenAIResponse, OutputMessage, OutputText
from domain.bots import TurnOptions
from domain.conversation import FINAL_EVENTS, EventType, TurnStatus
from domain.messages import Failure, Message

Told = tuple[str, dict[str, Any]]
"""The type of an event, and what it tells."""


class ResponseEvents:
    """Events of one stream, numbered from 0."""

    def __init__(self, row: Row[Any], *, after: int = -1) -> None:
        """`row` is the turn's; `after` the last number that was seen."""
        self._row = row
        self._after = after
        self.number = 0  # of the next event
        self.stored = 0  # the last stored event that was taken
        self._ended = False
        self._item = 0
        self._text: str | None = None  # of the open item
        self.names: Names = {}  # of the files that the answer cites

    def begin(self) -> list[dict[str, Any]]:
        """Give the events that come before anything has happened."""
        background = TurnOptions.model_validate(self._row.options or {}).background
        told: list[Told] = [("response.created", {"response": self._response("queued" if background else None)})]
        if background:
            told.append(("response.queued", {"response": self._response("queued")}))
        return self._numbered(told)

    def feed(self, event: Event) -> list[dict[str, Any]]:
        """Take the next stored event; give those that were not seen."""
        if event.sequence != self.stored + 1:
            # The stored events have expired, all but the last: what is left is the end, numbered on.
            self.number = max(self.number, self._after + 1)
        self.stored = event.sequence
        self._ended = event.type in FINAL_EVENTS
        return self._numbered(list(self._told(event)))

    def break_off(self) -> list[dict[str, Any]]:
        """Give what is sent behind the last stored event: nothing, unless that was no end."""
        if self._ended:
            return []
        self.number = max(self.number, self._after + 1)
        error = answer_deleted()["error"]
        return self._numbered([("error", {name: error[name] for name in ("code", "message", "param")})])

    def _told(self, event: Event) -> Iterator[Told]:
        if event.type is EventType.STARTED:
            yield "response.in_progress", {"response": self._response(None)}
        elif event.type is EventType.DELTA:
            yield from self._write(event.data["text"])
        elif event.type is EventType.RESET:
            yield from self._drop()
        elif event.type is EventType.FAILED:
            yield from self._drop()
            failure = Failure.model_validate(event.data["error"])
            yield "response.failed", {"response": _json(response_of(self._row, "failed", error=failure))}
        elif event.type in (EventType.COMPLETED, EventType.CANCELLED):
            yield from self._end(Message.model_validate(event.data["message"]), event.data.get("cut_off", False))

    def _write(self, text: str) -> Iterator[Told]:
        if self._text is None:
            self._text = ""
            yield "response.output_item.added", {**self._output, "item": self._message("in_progress")}
            yield "response.content_part.added", {**self._part, "part": _json(OutputText(text="", annotations=[]))}
        self._text += text
        yield "response.output_text.delta", {**self._part, "delta": text, "logprobs": []}

    def _drop(self) -> Iterator[Told]:
        if self._text is not None:
            yield "response.output_item.done", {**self._output, "item": self._message("incomplete")}
            self._text = None
            self._item += 1

    def _end(self, answer: Message, cut_off: bool) -> Iterator[Told]:
        if self._text is not None and not answer.content.startswith(self._text):
            yield from self._drop()
        shown = self._text or ""
        if self._text is None or answer.content != shown:
            yield from self._write(answer.content[len(shown) :])
        text = output_text(answer, self.names)
        for index, annotation in enumerate(text.annotations):
            cited = {"annotation_index": index, "annotation": _json(annotation)}
            yield "response.output_text.annotation.added", {**self._part, **cited}
        yield "response.output_text.done", {**self._part, "text": answer.content, "logprobs": []}
        yield "response.content_part.done", {**self._part, "part": _json(text)}
        yield (
            "response.output_item.done",
            {**self._output, "item": _json(output_message(answer, self._item, self.names, cut_off=cut_off))},
        )
        status = ended_as(TurnStatus(answer.status.value), cut_off=cut_off)
        response = response_of(self._row, status, answer=answer, item=self._item, names=self.names)
        # OpenAI's protocol has no event of a cancelled response; the status tells it.
        yield "response.completed" if status == "completed" else "response.incomplete", {"response": _json(response)}

    @property
    def _output(self) -> dict[str, Any]:
        return {"output_index": self._item}

    @property
    def _part(self) -> dict[str, Any]:
        return {"item_id": item_id(self._row.id, self._item), "output_index": self._item, "content_index": 0}

    def _message(self, status: ItemStatus) -> dict[str, Any]:
        return _json(OutputMessage(id=item_id(self._row.id, self._item), status=status, content=[]))

    def _response(self, status: str | None) -> dict[str, Any]:
        return _json(response_of(self._row, "queued" if status == "queued" else "in_progress"))

    def _numbered(self, told: list[Told]) -> list[dict[str, Any]]:
        events = [
            {"type": kind, **data, "sequence_number": number} for number, (kind, data) in enumerate(told, self.number)
        ]
        self.number += len(told)
        return [event for event in events if event["sequence_number"] > self._after]


def _json(shown: OpenAIResponse | OutputMessage | OutputText | Any) -> dict[str, Any]:
    made: dict[str, Any] = shown.model_dump(mode="json")
    return made
