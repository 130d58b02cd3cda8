"""Bots on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from api.schemas.base import Answer, Body, Name
from domain.bots import AgentType, BotConfiguration, BotStatus, ModelName
from domain.retrieval import SearchMode
from domain.tools import Tool


def _coherent(configuration: BotConfiguration) -> BotConfiguration:
    if configuration.agent_type is AgentType.REACT and not configuration.tools:
        raise PydanticCustomError(
            "missing_tools", "The agent type `react` needs at least one tool; use `rag` without.", {"param": "tools"}
        )
    return configuration


Configuration = Annotated[BotConfiguration, AfterValidator(_coherent)]
Description = Annotated[str, Field(max_length=500)]
Welcome = Annotated[str, Field(max_length=200)]
Named = Annotated[
    ModelName,
    Field(
        description="`provider/model`, or a model of the deployment's own provider; null is its default.",
        examples=["gemini/gemini-2.5-flash"],
    ),
]
Temperature = Annotated[float, Field(ge=0, le=2)]

_EXAMPLE: dict[str, Any] = {
    "name": "Handbook",
    "description": "Answers from the staff handbook.",
    "welcome_message": "Ask me about leave, travel and expenses.",
    "temperature": 0.2,
    "configuration": {
        "system_prompt": "Answer in two sentences.",
        "history_messages": 10,
        "history_tokens": 2000,
        "summarize": True,
        "retrieval": {"top_k": 6, "min_score": 0.0, "mode": "hybrid"},
    },
}


class BotBody(Body):
    """A whole bot: what is left out has its default."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    name: Name
    description: Description = ""
    welcome_message: Welcome = ""
    model: Named | None = None
    temperature: Temperature = 0.2
    is_public: bool = False
    status: BotStatus = BotStatus.ACTIVE
    configuration: Configuration = BotConfiguration()


class RetrievalChange(Body):
    """Keys as in a bot's `configuration.retrieval`; what is left out stays."""

    top_k: int | None = None
    min_score: float | None = None
    mode: SearchMode | None = None
    threshold: float | None = None
    condense: bool | None = None
    rerank: bool | None = None
    queries: int | None = None
    merge_neighbours: bool | None = None
    diversity: float | None = None


class AgentChange(Body):
    """Keys as in a bot's `configuration.agent`; what is left out stays."""

    max_steps: int | None = None
    max_tokens: int | None = None
    max_seconds: int | None = None


class ConfigurationChange(Body):
    """Keys as in a bot's `configuration`; what is left out stays."""

    system_prompt: str | None = None
    agent_type: AgentType | None = None
    history_messages: int | None = None
    history_tokens: int | None = None
    summarize: bool | None = None
    retrieval: RetrievalChange | None = None
    unknown_answer: str | None = None
    tools: list[Tool] | None = None
    agent: AgentChange | None = None
    fallback_models: list[str] | None = None


class BotChange(Body):
    """What is given is changed; `configuration` is merged key by key."""

    model_config = ConfigDict(json_schema_extra={"example": {"configuration": {"retrieval": {"top_k": 8}}}})

    name: Annotated[Name | None, Field(description="Not null.")] = None
    description: Description | None = None
    welcome_message: Welcome | None = None
    model: Named | None = None
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
