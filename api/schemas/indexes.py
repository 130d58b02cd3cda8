"""A bot's index on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from api.schemas.base import Answer
from domain.indexes import IndexState

_EXAMPLE: dict[str, Any] = {
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "state": "valid",
    "used": True,
    "chunks": 100_000,
    "threshold": 5_000,
    "valid_at": "2026-11-21T12:00:00Z",
    "error_code": None,
    "error_message": None,
}


class BotIndex(Answer):
    """How a bot's chunks are searched."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    bot_id: UUID
    state: Annotated[
        IndexState | Literal["none"], Field(description="`none`: the bot is small, or housekeeping is about to see it.")
    ]
    used: Annotated[bool, Field(description="Searches use the index; otherwise they scan the bot's chunks.")]
    chunks: Annotated[int, Field(description="That answer now.")]
    threshold: Annotated[int, Field(description="Chunks from which on a bot is indexed.")]
    valid_at: Annotated[datetime | None, Field(description="When the index was used first.")]
    error_code: str | None
    error_message: str | None
