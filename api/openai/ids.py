"""Ids in paths. To a client they are names that it was given: one that cannot be ours was never given, so it is 404."""

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator

from domain.errors import NotFound


def _read(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise NotFound("You have nothing of this id.") from None


PathId = Annotated[UUID, BeforeValidator(_read)]
"""An id that a path names."""
