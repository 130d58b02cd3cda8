"""The base of every value that crosses a process: frozen, typed, additive."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen value. New fields get defaults, so that old histories still decode."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Strict(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
