"""Responses: what is asked for."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.openai.schemas.base import MOST_TOKENS, Asked, Content, Labels, ModelName, Said
from api.openai.schemas.chat import MOST_MESSAGES, check_instructions, check_question
from domain.conversation import Role

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}


def _as_items(value: object) -> object:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class InputItem(Said):
    """A message of the input, the one kind of item that is read."""

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = {**Said.harmless, "type": ("message",)}


class ConversationName(BaseModel):
    """A conversation by its id."""

    model_config = ConfigDict(extra="ignore")

    id: str


class TextOptions(Asked):
    """How the answer is to be written; only text is."""

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = {"format": ({"type": "text"}, {})}


class ResponseBody(Asked):
    """A question, alone or with the conversation that it belongs to."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"model": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11", "input": "How much leave do I have?"}
        }
    )

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "moderation": (),
        "prompt": (),
        "store": (True,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
    }

    model: Annotated[ModelName | None, Field(description="A bot; may be left out where a conversation goes on.")] = None
    input: Annotated[
        list[InputItem],
        BeforeValidator(_as_items),
        Field(min_length=1, max_length=MOST_MESSAGES, description="A text, or messages of which the last is answered."),
    ]
    instructions: Content = ""
    previous_response_id: Annotated[
        str | None, Field(max_length=100, description="The response whose conversation goes on.")
    ] = None
    conversation: Annotated[
        str | ConversationName | None, Field(description="A conversation of ours that goes on at its end.")
    ] = None
    stream: bool | None = None
    background: Annotated[bool | None, Field(description="Answer at once, with the status `queued`.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="Null: the bot's.")] = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=MOST_TOKENS)] = None
    metadata: Labels | None = None
    text: TextOptions | None = None

    @model_validator(mode="after")
    def _is_one_question(self) -> "ResponseBody":
        check_question(self.input[-1].role, self.question, "input")
        check_instructions(self.told, "instructions")
        if self.previous_response_id is not None and self.conversation is not None:
            raise PydanticCustomError(
                "conversation",
                "Send `previous_response_id` or `conversation`, not both.",
                {"param": "previous_response_id"},
            )
        goes_on = self.previous_response_id is not None or self.conversation is not None
        if goes_on and len([item for item in self.input if item.role in _ROLES]) > 1:
            raise PydanticCustomError(
                "conversation", "A conversation that goes on takes one message at a time.", {"param": "input"}
            )
        if not goes_on and self.model is None:
            raise PydanticCustomError("model", "Name a bot.", {"param": "model"})
        return self

    @property
    def question(self) -> str:
        """What is answered."""
        return self.input[-1].content.strip()

    @property
    def told(self) -> str:
        """The instructions, and what the system and the developer say in the input."""
        said = [self.instructions, *(item.content for item in self.input if item.role not in _ROLES)]
        return "\n\n".join(text for text in said if text.strip())

    @property
    def said(self) -> list[tuple[Role, str]]:
        """What was said before the question."""
        return [(_ROLES[item.role], item.content) for item in self.input[:-1] if item.role in _ROLES]

    @property
    def conversation_id(self) -> str | None:
        """The conversation that goes on, if one is named."""
        return self.conversation.id if isinstance(self.conversation, ConversationName) else self.conversation
