"""Building blocks of requests and answers."""

from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from domain.storing import is_storable

ItemT = TypeVar("ItemT")


def _find_unstorable(value: object, path: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Find a text that Postgres cannot store; give the path to it."""
    if isinstance(value, str):
        return None if is_storable(value) else path
    items: list[tuple[str, object]] = []
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(str(index), item) for index, item in enumerate(value)]
    for key, item in items:
        found = _find_unstorable(item, (*path, key)) if is_storable(key) else (*path, "?")
        if found is not None:
            return found
    return None


def _unstorable(param: str) -> PydanticCustomError:
    message = "Text must not hold the NUL character (U+0000) or halves of surrogate pairs."
    return PydanticCustomError("unstorable", message, {"param": param})


def _clean(value: str) -> str:
    if not is_storable(value):
        raise _unstorable("")
    return value


Clean = Annotated[str, AfterValidator(_clean)]
"""Text outside a JSON body: queries and forms."""

JsonObject = Annotated[
    dict[str, JsonValue],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "object", "array", "null"]},
        }
    ),
]
"""An object whose fields are somebody else's to choose."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
"""A name of 1 to 100 characters that is not blank."""


class Body(BaseModel):
    """A JSON body: unknown fields, what Postgres cannot store, infinity and NaN are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unstorable(cls, value: object) -> object:
        found = _find_unstorable(value)
        if found is not None:
            raise _unstorable(".".join(found))
        return value


class Answer(BaseModel):
    """A JSON answer."""

    model_config = ConfigDict(frozen=True)


def _show_one(schema: dict[str, Any], model: type[BaseModel]) -> None:
    (item,) = get_args(model.model_fields["data"].annotation)
    extra = getattr(item, "model_config", {}).get("json_schema_extra")
    if isinstance(extra, dict):
        schema["example"] = {"object": "list", "data": [extra["example"]], "has_more": False, "next": None}


class ListOf(Answer, Generic[ItemT]):
    """One page of a list."""

    model_config = ConfigDict(json_schema_extra=_show_one)

    object: Literal["list"] = "list"
    data: list[ItemT]
    has_more: Annotated[bool, Field(description="Whether a page follows.")]
    next: Annotated[str | None, Field(description="Pass as `after` for the next page.")] = None


class Problem(Answer):
    """What is wrong and what to do."""

    type: Annotated[str, Field(examples=["not_found"], description="The kind of failure; a closed set.")]
    code: Annotated[str, Field(examples=["not_found"], description="Stable, for programs.")]
    message: Annotated[str, Field(examples=["No bot has this id."], description="For people.")]
    param: Annotated[str | None, Field(description="The field, where one is at fault.")] = None
    request_id: Annotated[str, Field(examples=["0199f0c4b8e97b6c"], description="As in `X-Request-ID`.")]
    details: Annotated[
        dict[str, str] | None, Field(description="Ids that belong to the failure, such as `turn_id`.")
    ] = None


class ErrorBody(Answer):
    """The body of every answer that is not a success."""

    error: Problem
