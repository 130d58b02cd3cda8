"""Bots: status, and the configuration that a turn reads."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from domain.conversation import HISTORY_BUDGET
from domain.ids import BotId, TurnId, UserId
from domain.model import Model, Strict
from domain.retrieval import SearchMode
from domain.tools import Tool, distinct
from domain.understanding import MOST_QUERIES


class BotStatus(StrEnum):
    """Whether a bot answers."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    TRAINING = "training"
    ERROR = "error"


class AgentType(StrEnum):
    """How an answer is made: from passages that are found first, or by a model that uses tools."""

    RAG = "rag"
    REACT = "react"


class RetrievalConfiguration(Strict):
    """How many passages a prompt gets, how similar they must be, and which arms find them."""

    top_k: Annotated[int, Field(ge=1, le=20, description="Passages given to the model, at most.")] = 6
    min_score: Annotated[float, Field(ge=0, le=1, description="Least cosine similarity of a passage.")] = 0.0
    condense: Annotated[
        bool, Field(description="A follow-up question is put into words that stand by themselves, by the model.")
    ] = True
    queries: Annotated[
        int, Field(ge=1, le=MOST_QUERIES, description="Ways to say the question that are searched for, by the model.")
    ] = 1
    merge_neighbours: Annotated[
        bool, Field(description="Passages that stand side by side in a document become one.")
    ] = True
    rerank: Annotated[
        bool, Field(description="What was found is put in order by the model, which costs a call a question.")
    ] = False
    diversity: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Above 0 copies of a better passage are left out, and passages that say much of what better "
            "ones say are put back; at 1 only what is new counts.",
        ),
    ] = 0.05
    threshold: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Least relevance of the best passage; below it the bot says that it does not know. "
            "Null is the calibrated value; 0 always asks the model.",
        ),
    ] = None
    mode: Annotated[SearchMode, Field(description="Which arms of the search are used.")] = SearchMode.HYBRID


class AgentConfiguration(Strict):
    """How far an agent may go before it is to answer with what it has."""

    max_steps: Annotated[int, Field(ge=1, le=50, description="Times that the model may ask for tools.")] = 8
    max_tokens: Annotated[
        int, Field(ge=1000, le=2_000_000, description="Tokens read and written, all steps together.")
    ] = 100_000
    max_seconds: Annotated[
        int, Field(ge=5, le=86_400, description="Time from the first step; waiting for approvals is not counted.")
    ] = 300


ModelName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[\w./:@-]+$")]


class BotConfiguration(Strict):
    """What a bot's owner chooses about its answers. Every key has a default."""

    system_prompt: Annotated[str, Field(max_length=8000, description="Instructions in front of every prompt.")] = ""
    agent_type: Annotated[AgentType, Field(description="`rag`, or `react`: an agent with `tools`.")] = AgentType.RAG
    history_messages: Annotated[
        int, Field(ge=0, le=50, description="Earlier messages that the model sees, at most.")
    ] = 10
    history_tokens: Annotated[
        int, Field(ge=0, le=32_000, description="Estimated tokens of earlier messages that the model sees, at most.")
    ] = HISTORY_BUDGET
    summarize: Annotated[
        bool, Field(description="Whether the model keeps a summary of what was said before the messages that it sees.")
    ] = True
    retrieval: RetrievalConfiguration = RetrievalConfiguration()
    unknown_answer: Annotated[
        str, Field(max_length=2000, description="Said where nothing relevant is found; empty is the house text.")
    ] = ""
    tools: Annotated[
        tuple[Tool, ...], Field(max_length=20, description="What a `react` bot may use."), AfterValidator(distinct)
    ] = ()
    agent: AgentConfiguration = AgentConfiguration()
    fallback_models: Annotated[
        tuple[ModelName, ...],
        Field(max_length=4, description="Models that answer, in this order, where the bot's own one cannot."),
    ] = ()


MAX_TOKENS = 2048
"""Of an answer, where nothing else is asked for."""


class TurnOptions(Model):
    """What one question asks for beside or in place of its bot's settings."""

    instructions: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    # Of a response of OpenAI's API, given back to the client as it sent them:
    metadata: Mapping[str, str] = Field(default_factory=dict)
    background: bool = False
    previous_turn_id: TurnId | None = None

    def instruct(self, configuration: BotConfiguration) -> BotConfiguration:
        """Add the question's instructions after the bot's."""
        both = "\n\n".join(filter(None, (configuration.system_prompt.strip(), self.instructions.strip())))
        return configuration.model_copy(update={"system_prompt": both})


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
