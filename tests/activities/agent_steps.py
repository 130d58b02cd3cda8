"""Running an agent's steps as a worker would, one attempt at a time."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.agent import Agent
from activities.catalogues import Catalogues
from activities.document_search import DocumentSearch
from adapters.clock import now
from adapters.postgres.deltas import Deltas
from adapters.postgres.tables import tool_calls
from adapters.sealing import Sealer
from adapters.tools.mcp import McpCaller
from domain.ids import UserId
from domain.ports import Embedder, Generator, ToolCall
from domain.steps import CallEnded, CallRef, ModelStepped, ModelStepRef, TurnRef
from tests.activities.turn_steps import NOW, attempt, load
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import Piece, ScriptedGenerator, WordEmbedder

LOOPBACK = [ip_network("127.0.0.0/8")]
SEALER = Sealer(b"secret", b"connections")
SEARCH: dict[str, Any] = {"type": "search_documents"}


def call(name: str, id_: str = "a", **arguments: JsonValue) -> ToolCall:
    """A call as a provider hands it on."""
    return ToolCall(id=id_, name=name, arguments=arguments, signature=f"signed {id_}")


def model(*scripts: Sequence[Piece]) -> ScriptedGenerator:
    """A model that takes tools, and says and asks these things."""
    return ScriptedGenerator(*scripts, completions=["short"])


async def an_agents_turn(
    engine: AsyncEngine,
    contents: Sequence[str] = (),
    *,
    tools: Sequence[Mapping[str, Any]] = (SEARCH,),
    owner: UserId | None = None,
    **agent: int,
) -> TurnRef:
    """A running turn of a bot with these tools, whose one document has these chunks."""
    configuration = {"agent_type": "react", "tools": list(tools), "agent": agent}
    owner, bot = await a_bot(engine, owner, configuration=configuration)
    if contents:
        await a_ready_document(engine, owner, bot, contents, WordEmbedder(), name="terms.pdf")
    ref = await a_question(engine, owner, bot, content="How long does the warranty last?")
    await load(engine, ref)
    return ref


def agent(engine: AsyncEngine, generator: Generator) -> Agent:
    catalogues = Catalogues(engine, McpCaller(allowed=LOOPBACK), SEALER, now)
    return Agent(engine, Deltas(engine), generator, catalogues, lambda: NOW, silence=timedelta(seconds=20))


async def ask(
    engine: AsyncEngine,
    ref: TurnRef,
    generator: Generator,
    step: int = 0,
    *,
    last: bool = False,
    number: int = 1,
    began: int | None = None,
) -> ModelStepped:
    """One attempt, of this number, of a model step."""
    at = ModelStepRef(ref=ref, number=step, last=last)
    return await attempt(agent(engine, generator).model_step, at, number=number, began=began)


async def search(
    engine: AsyncEngine,
    ref: TurnRef,
    step: int = 0,
    call: int = 0,
    *,
    embedder: Embedder | None = None,
    number: int = 1,
    began: int | None = None,
) -> CallEnded:
    """One attempt of a search."""
    step_of = DocumentSearch(engine, embedder or WordEmbedder()).search_documents
    return await attempt(step_of, CallRef(ref=ref, step=step, number=call), number=number, began=began)


async def calls_of(engine: AsyncEngine, ref: TurnRef) -> list[Any]:
    query = (
        select(tool_calls).where(tool_calls.c.turn_id == ref.turn_id).order_by(tool_calls.c.step, tool_calls.c.number)
    )
    async with engine.connect() as connection:
        return list(await connection.execute(query))
