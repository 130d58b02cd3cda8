"""Responses: a turn as it is shown."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.openai.schemas.base import CITED, Cited, Shown, example_of

_ID = "resp_0199f0c4c0de7a109f3e2b1a0c9d8e77"


class FileCitation(Cited):
    """A citation; `index` is the place of its marker in the answer."""

    type: Literal["file_citation"] = "file_citation"


class OutputText(Shown):
    """The answer's text."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[FileCitation]
    logprobs: tuple[()] = ()


ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputMessage(Shown):
    """The answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: ItemStatus
    content: list[OutputText]


class InputDetails(Shown):
    """Not counted."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(Shown):
    """Not counted."""

    reasoning_tokens: int = 0


class ResponseUsage(Shown):
    """Tokens as the provider counted them."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


ProblemCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


class ResponseProblem(Shown):
    """Why there is no answer; `type` is the turn's own code."""

    code: ProblemCode
    message: str
    type: str


class ConversationRef(Shown):
    """The conversation that a response belongs to."""

    id: str


class Incompleteness(Shown):
    """Why an answer is not whole."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_RESPONSE: dict[str, Any] = {
    "id": _ID,
    "object": "response",
    "created_at": 1795262400,
    "completed_at": 1795262403,
    "status": "completed",
    "background": False,
    "model": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "provider_model": "gemini/gemini-2.5-flash",
    "conversation": {"id": "0199f0c4-b8e9-7b6c-8a51-6d2f0e9c7b11"},
    "previous_response_id": None,
    "instructions": None,
    "output": [
        {
            "id": "msg_5a2f3c1e8d0b5e6a9a470f1d2c3b4a59_0",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": 'The handbook says "thirty days of leave" [1].',
                    "annotations": [{"type": "file_citation", **CITED}],
                    "logprobs": [],
                }
            ],
        }
    ],
    "usage": {
        "input_tokens": 812,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 23,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 835,
    },
    "metadata": {},
}


class OpenAIResponse(Shown):
    """A turn."""

    model_config = example_of(**_RESPONSE)

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    background: bool
    model: Annotated[str, Field(description="The bot's id.")]
    provider_model: Annotated[str | None, Field(description="The model that answered.")] = None
    conversation: ConversationRef
    previous_response_id: str | None = None
    instructions: str | None = None
    output: list[OutputMessage] = Field(default_factory=list)
    usage: ResponseUsage | None = None
    error: ResponseProblem | None = None
    incomplete_details: Annotated[Incompleteness | None, Field(description="Where the tokens were spent.")] = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str]
    parallel_tool_calls: Literal[False] = False
    tool_choice: Literal["none"] = "none"
    tools: tuple[()] = ()
    top_p: None = None
    truncation: Literal["disabled"] = "disabled"
    store: Literal[True] = True


class InputText(Shown):
    """A text of the input."""

    type: Literal["input_text"] = "input_text"
    text: str


class InputMessage(Shown):
    """The question."""

    model_config = example_of(
        id="msg_0199f0c400047b6c8a516d2f0e9c7b11",
        type="message",
        role="user",
        status="completed",
        content=[{"type": "input_text", "text": "How much leave do I have?"}],
    )

    id: str
    type: Literal["message"] = "message"
    role: Literal["user"] = "user"
    status: Literal["completed"] = "completed"
    content: list[InputText]


class ResponseDeleted(Shown):
    """A response that is gone."""

    model_config = example_of(id=_ID, object="response", deleted=True)

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


EVENTS = """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_5a2f3c1e8d0b5e6a9a470f1d2c3b4a59_0","output_index":0,\
"content_index":0,"delta":"The handbook","logprobs":[],"sequence_number":4}

"""
