"""Bots as models."""

from typing import Annotated, Literal

from pydantic import Field

from api.openai.schemas.base import Shown, example_of

_MODEL = {
    "id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "object": "model",
    "created": 1795262400,
    "owned_by": "chatsphere",
    "name": "Handbook",
    "description": "Answers from the staff handbook.",
}


class Model(Shown):
    """A bot."""

    model_config = example_of(**_MODEL)

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "chatsphere"
    name: Annotated[str, Field(description="Goes for the id where it is unique.")]
    description: str


class Models(Shown):
    """All of the caller's bots, in one page."""

    model_config = example_of(object="list", data=[_MODEL])

    object: Literal["list"] = "list"
    data: list[Model]
