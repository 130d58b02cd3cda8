"""Bots on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.schemas.base import Answer, Body, Name
from domain.bots import AgentType, BotConfiguration, BotStatus
from domain.retrieval import SearchMode


def _supported(configuration: BotConfiguration) -> BotConfiguration:
    if configuration.agent_type is AgentType.REACT:
        raise PydanticCustomError(
            "not_supported", "The agent type `react` is not supported yet; use `rag`.", {"param": "agent_type"}
        )
    if configuration.tools:
        raise PydanticCustomError(
            "not_supported", "Tools are not supported yet; leave the list empty.", {"param": "tools"}
        )
    return configuration


Configuration = Annotated[BotConfiguration, AfterValidator(_supported)]
Description = Annotated[str, Field(max_length=500)]
Welcome = Annotated[str, Field(max_length=200)]
ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[\w./:@-]+$"),
    Field(description="A model of the deployment's provider; null is its default."),
]  # fmt: skip
Temperature = Annotated[float, Field(ge=0, le=2)]

_EXAMPLE: dict[str, Any] = {
    "name": "Handbook",
    "description": "Answers from the staff handbook.",
    "welcome_message": "Ask me about leave, travel and expenses.",
    "temperature": 0.2,
    "configuration": {
        "system_prompt": "Answer in two sentences.",
        "history_messages": 10,
        "retrieval": {"top_k": 6, "min_score": 0.0, "mode": "hybrid"},
    },
}


class BotBody(Body):
    """A whole bot: what is left out has its default."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    name: Name
    description: Description = ""
    welcome_message: Welcome = ""
    model: ModelName | None = None
    temperature: Temperature = 0.2
    is_public: bool = False
    status: BotStatus = BotStatus.ACTIVE
    configuration: Configuration = BotConfiguration()


class RetrievalChange(Body):
    """Keys as in a bot's `configuration.retrieval`; what is left out stays."""

    top_k: int | None = None
    min_score: float | None = None
    mode: SearchMode | None = None


class ConfigurationChange(Body):
    """Keys as in a bot's `configuration`; what is left out stays."""

    system_prompt: str | None = None
    agent_type: AgentType | None = None
    history_messages: int | None = None
    retrieval: RetrievalChange | None = None
    tools: list[str] | None = None


class BotChange(Body):
    """What is given is changed; `configuration` is merged key by key."""

    model_config = ConfigDict(json_schema_extra={"example": {"configuration": {"retrieval": {"top_k": 8}}}})

    name: Annotated[Name | None, Field(description="Not null.")] = None
    description: Description | None = None
    welcome_message: Welcome | None = None
    model: ModelName | None = None
    temperature: Temperature | None = None
    is_public: bool | None = None
    status: BotStatus | None = None
    configuration: ConfigurationChange | None = None


_BOT: dict[str, Any] = {
    "id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "model": None,
    "is_public": False,
    "status": "active",
    **_EXAMPLE,
    "configuration": BotConfiguration().model_dump(mode="json"),
    "created_at": "2026-11-21T12:00:00Z",
    "updated_at": "2026-11-21T12:00:00Z",
}


class Bot(Answer):
    """A bot."""

    model_config = ConfigDict(json_schema_extra={"example": _BOT})

    id: UUID
    name: Annotated[str, Field(examples=["Handbook"])]
    description: str
    welcome_message: str
    model: str | None
    temperature: float
    is_public: bool
    status: BotStatus
    configuration: BotConfiguration
    created_at: datetime
    updated_at: datetime
