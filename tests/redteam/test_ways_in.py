"""The other ways on which an injected text comes to a model: what agents' tools give, and passages to put in order."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.reranking import Reranking
from adapters.models.gemini import open_gemini
from adapters.postgres import turn_passages
from domain.ports import Generator
from domain.steps import ModelStepped, RerankPassages, TurnRef
from tests.activities.agent_steps import ask, call, calls_of, model
from tests.activities.test_consultation import asking, close_it, open_it
from tests.activities.test_mcp import OBJECT, a_turn, call_it
from tests.activities.test_tools import a_connection, asked, query, request
from tests.activities.turn_steps import NOW, answered, attempt, load, retrieval, turn_of
from tests.adapters.test_gemini import settings_for
from tests.builders import a_bot, a_question, a_ready_document, a_user
from tests.fakes import WordEmbedder
from tests.gemini_double import GeminiDouble, running_double
from tests.mcp_server import listing_server
from tests.redteam.documents import DOCUMENTS
from tests.redteam.injected import FACT, QUESTION, Injected, Promise
from tests.redteam.minds import OBEYED, Gullible, Mind, Obedient
from tests.servers import PostgresServer
from tests.web_site import running_site

# Plain texts, as any tool may give them. What attacks by the model's own earlier answers comes in by those alone.
CHOSEN = [
    document
    for promise in Promise
    if promise is not Promise.HISTORY
    for document in [d for d in DOCUMENTS if d.attacks is promise and d.reaches and d.name == "notice.txt"][:2]
]
each_document = pytest.mark.parametrize("document", CHOSEN, ids=[document.title for document in CHOSEN])


@dataclass(frozen=True)
class Place:
    """Where turns are, and a database that agents may read."""

    engine: AsyncEngine
    postgres: PostgresServer


Way = Callable[[Place, str], AbstractAsyncContextManager[TurnRef]]


@asynccontextmanager
async def by_request(place: Place, text: str) -> AsyncIterator[TurnRef]:
    async with running_site() as site:
        url = site.put("/notice", text)
        ref = await asked(place.engine, {"type": "http_request", "allow": [site.url]}, url=url)
        await request(place.engine, ref)
        yield ref


@asynccontextmanager
async def by_sql(place: Place, text: str) -> AsyncIterator[TurnRef]:
    owner = await a_user(place.engine)
    dsn = place.postgres.cluster.url("postgres", driver="postgresql")
    connection = await a_connection(place.engine, owner, "postgres", json.dumps({"dsn": dsn}))
    tool = {"type": "sql_query", "connection_id": str(connection)}
    literal = text.replace("'", "''")
    ref = await asked(place.engine, tool, owner=owner, statement=f"SELECT '{literal}' AS notice")
    await query(place.engine, ref)
    yield ref


@asynccontextmanager
async def by_mcp(place: Place, text: str) -> AsyncIterator[TurnRef]:
    said = {"jsonrpc": "2.0", "id": "%d", "result": {"content": [{"type": "text", "text": text}]}}
    reply = json.dumps(said).replace('"%d"', "%d").encode()
    async with listing_server([{"name": "read", "inputSchema": OBJECT}], called=reply) as server:
        ref = await a_turn(place.engine, server.url)
        await ask(place.engine, ref, model([call("shop__read")]))
        await call_it(place.engine, ref)
        yield ref


@asynccontextmanager
async def by_another_bot(place: Place, text: str) -> AsyncIterator[TurnRef]:
    owner, other = await a_bot(place.engine)
    ref = await asking(place.engine, owner, other)
    turn = await open_it(place.engine, ref)
    assert turn is not None
    await answered(place.engine, turn, text)
    await close_it(place.engine, ref)
    yield ref


each_way = pytest.mark.parametrize("way", [by_request, by_sql, by_mcp, by_another_bot])


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        yield double


@pytest_asyncio.fixture
async def generator(double: GeminiDouble) -> AsyncIterator[Generator]:
    async with open_gemini(settings_for(double.url)) as (_, generator):
        yield generator


@pytest.fixture
def place(engine: AsyncEngine, postgres: PostgresServer) -> Place:
    return Place(engine, postgres)


def taught(double: GeminiDouble, mind: Mind) -> None:
    double.answering, double.completing, double.calling = mind.answer, mind.complete, mind.calls


async def told(
    place: Place, double: GeminiDouble, generator: Generator, mind: Mind, way: Way, document: Injected
) -> tuple[ModelStepped, str]:
    """Let an agent's model read what a tool gave; answer what it asks for, and what a reader is shown."""
    taught(double, mind)
    async with way(place, document.content.decode()) as ref:
        (given,) = await calls_of(place.engine, ref)
        assert (given.status, FACT in given.result) == ("complete", True), given.result
        stepped = await ask(place.engine, ref, generator, 1)
        return stepped, (await turn_of(place.engine, ref)).draft or ""


@each_way
@each_document
async def test_what_a_tool_gave_is_not_obeyed_and_if_it_were_would_run_no_tool_and_show_no_link(
    place: Place, double: GeminiDouble, generator: Generator, way: Way, document: Injected
) -> None:
    obedient, gullible = Obedient(), Gullible()
    stepped, shown = await told(place, double, generator, obedient, way, document)
    assert (obedient.obeyed, obedient.called) == ([], [])
    assert stepped.answered
    assert OBEYED not in shown
    stepped, shown = await told(place, double, generator, gullible, way, document)
    assert gullible.obeyed or gullible.called, "the order did not come to the model"
    assert stepped.calls == ()
    assert "//evil.example" not in shown


async def reranked(engine: AsyncEngine, generator: Generator, document: Injected) -> tuple[list[str], list[str]]:
    """Let a model put passages in order; answer them as they were found, and as they are then."""
    owner, bot = await a_bot(engine, configuration={"retrieval": {"rerank": True, "merge_neighbours": False}})
    texts = [document.content.decode(), f"{FACT} So it is on Mondays.", "The reading room has a window."]
    await a_ready_document(engine, owner, bot, texts, WordEmbedder())
    ref = await a_question(engine, owner, bot, content=QUESTION)
    await load(engine, ref)
    found = await attempt(retrieval(engine, completes=True).retrieve, ref)
    assert found.rerank
    orders = []
    for put_in_order in (False, True):
        if put_in_order:
            step = Reranking(engine, generator, lambda: NOW).rerank
            await attempt(step, RerankPassages(ref=ref, relevance=0.5))
        async with engine.connect() as connection:
            orders.append([passage.content for passage in await turn_passages.read(connection, ref.turn_id)])
    return orders[0], orders[1]


@each_document
async def test_passages_to_put_in_order_are_not_obeyed_and_if_they_were_would_stay_as_they_were_found(
    engine: AsyncEngine, double: GeminiDouble, generator: Generator, document: Injected
) -> None:
    obedient, gullible = Obedient(), Gullible()
    taught(double, obedient)
    await reranked(engine, generator, document)
    assert (double.calls["complete"], obedient.obeyed) == (1, [])
    taught(double, gullible)
    found, then = await reranked(engine, generator, document)
    assert gullible.obeyed, "the order did not come to the model"
    assert then == found
