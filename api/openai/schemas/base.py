"""Building blocks: bodies that let unknown fields pass, objects and lists as OpenAI's clients read them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.base import Answer, Body
from api.schemas.conversations import storable

ItemT = TypeVar("ItemT")

MOST_INSTRUCTIONS = 32_000
MOST_METADATA = 16
MOST_TOKENS = 2**31 - 1  # more than this no provider reads


class Asked(Body):
    """A JSON body. What this server does not know is passed over, as other servers of this API do.

    `harmless` names the fields that would change the answer in a way that is not offered, each with the values
    that ask for nothing: any other value is refused.
    """

    model_config = ConfigDict(extra="ignore")

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_offered(cls, value: object) -> object:
        if isinstance(value, dict):
            for name, values in cls.harmless.items():
                if name in value and value[name] is not None and value[name] not in values:
                    raise PydanticCustomError(
                        "not_supported", "This server does not offer it; leave it out.", {"param": name}
                    )
        return value


def _text_of(value: object) -> object:
    """Join the text parts of a content. Raises for any other part."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        text = part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else None
        if not isinstance(text, str):
            raise PydanticCustomError("not_supported", "Only parts of text are read; upload files to a vector store.")
        texts.append(text)
    return "\n".join(texts)


_TEXT_PARTS = ("text", "input_text", "output_text")

Content = Annotated[str, BeforeValidator(_text_of), AfterValidator(storable)]
"""A text, or a list of parts that are text."""

_TOOL_ROLES = ("tool", "function")


def _without_tools(value: object) -> object:
    if value in _TOOL_ROLES:
        raise PydanticCustomError("not_supported", "No tools of the client's are called here, so none can answer.")
    return value


class Said(Asked):
    """One message of a conversation."""

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = {"tool_calls": ([],), "function_call": ()}

    role: Annotated[Literal["system", "developer", "user", "assistant"], BeforeValidator(_without_tools)]
    content: Content = ""


Labels = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64), AfterValidator(storable)],
        Annotated[str, Field(max_length=512), AfterValidator(storable)],
    ],
    Field(max_length=MOST_METADATA, description="The client's own, given back as it was sent."),
]
"""The metadata of an object, within OpenAI's own bounds."""

ModelName = Annotated[
    str, Field(min_length=1, max_length=200, description="A bot's id, or its name where it is unique.")
]


class Shown(Answer):
    """An object of OpenAI's."""


def _show_one(schema: dict[str, Any], model: type[BaseModel]) -> None:
    (item,) = get_args(model.model_fields["data"].annotation)
    extra = getattr(item, "model_config", {}).get("json_schema_extra")
    if isinstance(extra, dict):
        one = extra["example"]
        schema["example"] = {
            "object": "list", "data": [one], "first_id": one["id"], "last_id": one["id"], "has_more": False,
        }  # fmt: skip


class Listed(Shown, Generic[ItemT]):
    """A page of a list; the last item's id is the next page's `after`."""

    model_config = ConfigDict(json_schema_extra=_show_one)

    object: Literal["list"] = "list"
    data: list[ItemT]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


CITED: dict[str, Any] = {
    "start_index": 42,
    "end_index": 45,
    "file_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "filename": "handbook.pdf",
    "index": 42,
    "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "chunk_id": "9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d3",
    "marker": 1,
    "page": 12,
    "char_start": 9120,
    "char_end": 9140,
    "quote": "thirty days of leave",
    "score": 0.94,
}


class Cited(Shown):
    """What a citation tells, beside what OpenAI's do."""

    start_index: Annotated[int, Field(description="Of the marker, in the answer's characters.")]
    end_index: int
    file_id: str
    filename: str
    index: int
    document_id: str
    chunk_id: str
    marker: int
    page: int | None
    char_start: Annotated[int | None, Field(description="Of the quote, in the document's text.")]
    char_end: int | None
    quote: Annotated[str, Field(description="The document's own words.")]
    score: float


class OpenAIProblem(Answer):
    """What is wrong and what to do."""

    message: Annotated[str, Field(examples=["You have no bot of this id or name."])]
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    param: Annotated[str | None, Field(examples=["model"])] = None
    code: Annotated[str | None, Field(examples=["model_not_found"])] = None


class OpenAIError(Answer):
    """The body of every answer that is not a success."""

    error: OpenAIProblem


def seconds(moment: datetime) -> int:
    """Give a moment as this API has it."""
    return int(moment.timestamp())


def example_of(**values: Any) -> ConfigDict:
    """Show an object in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"example": values})
