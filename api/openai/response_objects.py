"""A turn as a response: the same object in an answer, in a stream's events and when it is asked for later."""

from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from api.openai.citations import Names, file_citations, response_usage_of
from api.openai.errors import kind_of
from api.openai.schemas.base import seconds
from api.openai.schemas.responses import (
    ConversationRef,
    Incompleteness,
    ItemStatus,
    OpenAIResponse,
    OutputMessage,
    OutputText,
    ProblemCode,
    ResponseProblem,
    ResponseStatus,
)
from domain.bots import TurnOptions
from domain.conversation import TurnStatus
from domain.errors import Kind, NotFound, SafetyBlocked
from domain.ids import TurnId, answer_id
from domain.messages import Failure, Message, MessageStatus

_STATUSES: dict[TurnStatus, ResponseStatus] = {
    TurnStatus.PENDING: "queued",
    TurnStatus.RUNNING: "in_progress",
    TurnStatus.COMPLETE: "completed",
    TurnStatus.PARTIAL: "cancelled",
    TurnStatus.FAILED: "failed",
}


def response_id(turn_id: UUID) -> str:
    """Name a turn as a response."""
    return f"resp_{turn_id.hex}"


def turn_id_of(name: str, *, param: str | None = None) -> TurnId:
    """Give the turn of a response's id. Raises `NotFound`."""
    try:
        return TurnId(UUID(name.removeprefix("resp_")))
    except ValueError:
        raise no_response(param=param) from None


def no_response(*, param: str | None = None) -> NotFound:
    """Say the same of an id that never was, is gone, or is another owner's."""
    return NotFound("You have no response of this id.", param=param)


def status_of(row: Row[Any]) -> ResponseStatus:
    """Tell where a turn stands."""
    return ended_as(TurnStatus(row.status), cut_off=row.cut_off)


def ended_as(status: TurnStatus, *, cut_off: bool) -> ResponseStatus:
    """Tell an answer that is whole from one whose tokens were spent."""
    return "incomplete" if cut_off and status is TurnStatus.COMPLETE else _STATUSES[status]


def item_id(turn_id: UUID, index: int) -> str:
    """Name an answer that was begun: `index` counts those that were dropped before it."""
    return f"msg_{answer_id(TurnId(turn_id)).hex}_{index}"


def response_of(
    row: Row[Any],
    status: ResponseStatus,
    *,
    answer: Message | None = None,
    error: Failure | None = None,
    item: int = 0,
    names: Names = MappingProxyType({}),
) -> OpenAIResponse:
    """Show a turn. What stands beside `row` may be older or newer than the row is."""
    options = TurnOptions.model_validate(row.options or {})
    previous = options.previous_turn_id
    shown = answer if answer is not None and answer.error is None else None
    return OpenAIResponse(
        id=response_id(row.id),
        created_at=seconds(row.created_at),
        completed_at=seconds(shown.created_at) if shown and status == "completed" else None,
        status=status,
        background=options.background,
        model=str(row.bot_id),
        provider_model=shown.model if shown else None,
        conversation=ConversationRef(id=str(row.conversation_id)),
        previous_response_id=None if previous is None else response_id(previous),
        instructions=options.instructions or None,
        incomplete_details=Incompleteness() if status == "incomplete" else None,
        output=[output_message(shown, item, names, cut_off=status == "incomplete")] if shown else [],
        usage=response_usage_of(shown) if shown else None,
        error=None if error is None else _problem(error),
        temperature=options.temperature,
        max_output_tokens=options.max_tokens,
        metadata=dict(options.metadata),
    )


def output_message(answer: Message, index: int, names: Names, *, cut_off: bool) -> OutputMessage:
    """Show an answer."""
    whole = answer.status is MessageStatus.COMPLETE and not cut_off
    status: ItemStatus = "completed" if whole else "incomplete"
    return OutputMessage(id=item_id(answer.turn_id, index), status=status, content=[output_text(answer, names)])


def output_text(answer: Message, names: Names) -> OutputText:
    """Show an answer's text with its citations."""
    return OutputText(text=answer.content, annotations=file_citations(answer, names))


def _problem(error: Failure) -> ResponseProblem:
    return ResponseProblem(code=_problem_code(error.code), message=error.message, type=error.code)


def _problem_code(code: str) -> ProblemCode:
    kind = kind_of(code)
    if kind in (Kind.RATE_LIMIT, Kind.QUOTA):
        return "rate_limit_exceeded"
    declined = kind is Kind.INVALID_REQUEST or code == SafetyBlocked.code
    return "invalid_prompt" if declined else "server_error"
