"""Bots: status, and the configuration that a turn reads."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.ids import BotId, UserId
from domain.retrieval import SearchMode


class BotStatus(StrEnum):
    """Whether a bot answers."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    TRAINING = "training"
    ERROR = "error"


class AgentType(StrEnum):
    """How an answer is made; `react` is reserved and refused until tools exist."""

    RAG = "rag"
    REACT = "react"


class _Strict(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RetrievalConfiguration(_Strict):
    """How many passages a prompt gets, how similar they must be, and which arms find them."""

    top_k: Annotated[int, Field(ge=1, le=20, description="Passages given to the model, at most.")] = 6
    min_score: Annotated[float, Field(ge=0, le=1, description="Least cosine similarity of a passage.")] = 0.0
    mode: Annotated[SearchMode, Field(description="Which arms of the search are used.")] = SearchMode.HYBRID


class BotConfiguration(_Strict):
    """What a bot's owner chooses about its answers. Every key has a default."""

    system_prompt: Annotated[str, Field(max_length=8000, description="Instructions in front of every prompt.")] = ""
    agent_type: Annotated[AgentType, Field(description="`rag`; `react` is not supported yet.")] = AgentType.RAG
    history_messages: Annotated[
        int, Field(ge=0, le=50, description="Earlier messages that the model sees, at most.")
    ] = 10
    retrieval: RetrievalConfiguration = RetrievalConfiguration()
    tools: Annotated[tuple[str, ...], Field(description="Empty; tools are not supported yet.")] = ()


class Bot(BaseModel):
    """A bot as a turn needs it."""

    model_config = ConfigDict(frozen=True)

    id: BotId
    owner_id: UserId
    name: str
    status: BotStatus
    model: str | None
    temperature: float
    configuration: BotConfiguration
