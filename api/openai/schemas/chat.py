"""Chat completions: a conversation that the client holds, and the answer to its last message."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.openai.schemas.base import (
    CITED,
    MOST_INSTRUCTIONS,
    MOST_TOKENS,
    Asked,
    Cited,
    Labels,
    ModelName,
    Said,
    Shown,
    example_of,
)
from domain.conversation import Role

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}
LONGEST_QUESTION = 16_000
MOST_MESSAGES = 2000


class StreamOptions(BaseModel):
    """How a stream is to end."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatBody(Asked):
    """A conversation whose last message is answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
                "messages": [{"role": "user", "content": "How much leave do I have?"}],
            }
        }
    )

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "audio": (),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "moderation": (),
        "n": (1,),
        "response_format": ({"type": "text"},),
        "stop": ([],),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "web_search_options": (),
    }

    model: ModelName
    messages: Annotated[list[Said], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="Null: the bot's.")] = None
    max_tokens: Annotated[int | None, Field(ge=1, le=MOST_TOKENS)] = None
    max_completion_tokens: Annotated[
        int | None, Field(ge=1, le=MOST_TOKENS, description="Goes before `max_tokens`.")
    ] = None
    metadata: Labels | None = None

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> "ChatBody":
        check_question(self.messages[-1].role, self.question, "messages")
        check_instructions(self.instructions, "messages")
        return self

    @property
    def question(self) -> str:
        """What is answered."""
        return self.messages[-1].content.strip()

    @property
    def instructions(self) -> str:
        """What the system and the developer say, wherever they say it."""
        said = [message.content for message in self.messages if message.role not in _ROLES]
        return "\n\n".join(text for text in said if text.strip())

    @property
    def said(self) -> list[tuple[Role, str]]:
        """What was said before the question."""
        return [(_ROLES[each.role], each.content) for each in self.messages[:-1] if each.role in _ROLES]


def check_question(role: str, question: str, param: str) -> None:
    """Refuse what cannot be answered."""
    if role != "user":
        raise PydanticCustomError("question", "The last message must be the user's.", {"param": param})
    if not 1 <= len(question) <= LONGEST_QUESTION:
        raise PydanticCustomError(
            "question",
            "The last message must have 1 to {most} characters. Upload long texts to a vector store.",
            {"param": param, "most": LONGEST_QUESTION},
        )


def check_instructions(instructions: str, param: str) -> None:
    """Refuse instructions that would leave no room for passages."""
    if len(instructions) > MOST_INSTRUCTIONS:
        raise PydanticCustomError(
            "instructions",
            "The instructions must have {most} characters at most.",
            {"param": param, "most": MOST_INSTRUCTIONS},
        )


_HEAD: dict[str, Any] = {
    "id": "chatcmpl-0199f0c4c0de7a109f3e2b1a0c9d8e77",
    "created": 1795262400,
    "model": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "system_fingerprint": "gemini/gemini-2.5-flash",
}
_CITED: dict[str, Any] = {
    "type": "url_citation",
    "url_citation": {
        "title": "handbook.pdf",
        "url": "http://127.0.0.1:8000/api/v1/documents/0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d/content#page=12",
        **CITED,
    },
}


class UrlCitation(Cited):
    """Where a statement comes from; the marker in the answer stands from `start_index` to `end_index`."""

    title: str
    url: Annotated[str, Field(description="The document's bytes; needs the credential, as every path.")]


class ChatAnnotation(Shown):
    """A citation."""

    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class CompletionUsage(Shown):
    """Tokens as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(Shown):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: list[ChatAnnotation]


class Choice(Shown):
    """The one choice."""

    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Annotated[
        Literal["stop", "length"], Field(description="`length`: its tokens were spent, or the turn was stopped.")
    ]


class ChatCompletion(Shown):
    """An answer."""

    model_config = example_of(
        **_HEAD,
        object="chat.completion",
        choices=[
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": 'The handbook says "thirty days of leave" [1].',
                    "refusal": None,
                    "annotations": [_CITED],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        usage={"prompt_tokens": 812, "completion_tokens": 23, "total_tokens": 835},
        conversation_id="0199f0c4-b8e9-7b6c-8a51-6d2f0e9c7b11",
        turn_id="0199f0c4-c0de-7a10-9f3e-2b1a0c9d8e77",
    )

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: Annotated[str, Field(description="The bot's id.")]
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: Annotated[str | None, Field(description="The model that answered.")] = None
    conversation_id: Annotated[str, Field(description="Where the answer is stored.")]
    turn_id: str


CHUNKS = """\
data: {"id":"chatcmpl-0199f0c4c0de7a109f3e2b1a0c9d8e77","object":"chat.completion.chunk","created":1795262400,\
"model":"0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11","choices":[{"index":0,"delta":{"content":"The handbook"},"finish_reason":null}]}

data: [DONE]

"""
