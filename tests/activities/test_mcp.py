"""Tools of a real MCP server: listed by the official client, called once, over the guarded network."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.mcp_call import McpCalls
from adapters.postgres.tables import connections
from adapters.tools.mcp import McpCaller
from domain.connections import McpSecret
from domain.errors import McpFailed, ProviderError
from domain.steps import CallEnded, CallRef, TurnRef
from domain.tools import CallStatus
from tests.activities.agent_steps import LOOPBACK, SEALER, an_agents_turn, ask, call, calls_of, model
from tests.activities.test_tools import a_connection, told
from tests.activities.turn_steps import attempt
from tests.builders import a_user
from tests.mcp_server import ToolServer, listing_server, tool_server
from tests.servers import free_port
from tests.web_site import endless, running_site

OBJECT = {"type": "object"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ToolServer]:
    async with tool_server() as server:
        yield server


async def a_turn(engine: AsyncEngine, url: str, **tool: Any) -> TurnRef:
    """A turn of an agent that has a server's tools."""
    owner = await a_user(engine)
    secret = {"url": url, "headers": {"Authorization": "Bearer s3cret"}}
    connection = await a_connection(engine, owner, "mcp", json.dumps(secret))
    entry = {"type": "mcp", "name": "shop", "connection_id": str(connection)} | tool
    return await an_agents_turn(engine, tools=[entry], owner=owner)


async def call_it(engine: AsyncEngine, ref: TurnRef, *, number: int = 1) -> CallEnded:
    step = McpCalls(engine, McpCaller(allowed=LOOPBACK), SEALER).mcp_call
    return await attempt(step, CallRef(ref=ref, step=0, number=0), number=number)


async def test_a_servers_tools_are_offered_and_called_with_the_owners_secret(
    engine: AsyncEngine, server: ToolServer
) -> None:
    ref = await a_turn(engine, server.url, description="The shop's.")
    generator = model([call("shop__add", a=2, b=3)])
    stepped = await ask(engine, ref, generator)
    assert [planned.tool for planned in stepped.calls] == ["mcp"]
    (request,) = generator.requests
    assert sorted(tool.name for tool in request.tools) == ["shop__add", "shop__book", "shop__break"]
    (add,) = [tool for tool in request.tools if tool.name == "shop__add"]
    assert (add.description, add.foreign) == ("The shop's.", "Adds two numbers.")
    assert add.parameters["required"] == ["a", "b"]
    assert (await call_it(engine, ref)).status is CallStatus.COMPLETE
    assert await told(engine, ref) == ("complete", None, "5")
    assert {headers["authorization"] for headers in server.headers} == {"Bearer s3cret"}


async def test_only_allowed_tools_are_offered_and_what_does_not_fit_is_not_called(
    engine: AsyncEngine, server: ToolServer
) -> None:
    ref = await a_turn(engine, server.url, tools=["add"])
    generator = model([call("shop__book", room="1"), call("shop__add", "b", a=1), call("shop__add", "c", a="x", b=2)])
    assert (await ask(engine, ref, generator)).calls == ()
    assert [tool.name for tool in generator.requests[0].tools] == ["shop__add"]
    codes = [(row.error_code, row.result) for row in await calls_of(engine, ref)]
    assert [code for code, _ in codes] == ["tool_unknown", "tool_arguments_invalid", "tool_arguments_invalid"]
    assert "b: missing" in codes[1][1]
    assert "a: must be of the type integer" in codes[2][1]
    assert server.booked == []


async def test_a_call_is_made_once_though_its_worker_dies_in_the_middle(
    engine: AsyncEngine, server: ToolServer
) -> None:
    server.gate = asyncio.Event()
    ref = await a_turn(engine, server.url)
    await ask(engine, ref, model([call("shop__book", room="7")]))
    dying = asyncio.create_task(call_it(engine, ref))
    await server.reached.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    server.gate.set()
    assert (await call_it(engine, ref, number=2)).status is CallStatus.UNKNOWN
    assert server.booked == ["7"]
    assert (await told(engine, ref))[1] == "tool_outcome_unknown"


async def test_what_a_tool_says_went_wrong_is_told_to_the_model(engine: AsyncEngine, server: ToolServer) -> None:
    ref = await a_turn(engine, server.url)
    await ask(engine, ref, model([call("shop__break")]))
    assert (await call_it(engine, ref)).status is CallStatus.FAILED
    status, code, said = await told(engine, ref)
    assert (status, code) == ("failed", "tool_failed")
    assert "Error executing tool break" in said


@pytest.mark.parametrize(
    ("answer", "status", "result"),
    [
        (b"", "unknown", "The call began"),  # 202: nothing will come
        (b"<html>", "unknown", "The call began"),  # a gateway's page, as JSON
        (b'{"jsonrpc": "2.0", "id": %d, "error": {"code": -32602, "message": "no room"}}', "failed", "no room"),
        (b'{"jsonrpc": "2.0", "id": %d, "error": {"code": -32603, "message": "oh"}}', "unknown", "The call began"),
        (b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [], "structuredContent": {"n": 1}}}', "complete", '{"n": 1}'),
    ],
)  # fmt: skip
async def test_an_answer_that_does_not_say_whether_the_tool_ran_leaves_that_open(
    engine: AsyncEngine, answer: bytes, status: str, result: str
) -> None:
    async with listing_server([{"name": "add", "inputSchema": OBJECT}], called=answer) as server:
        ref = await a_turn(engine, server.url)
        await ask(engine, ref, model([call("shop__add")]))
        assert (await call_it(engine, ref)).status == status
    assert result in (await told(engine, ref))[2]


async def test_what_a_server_offers_is_remembered_where_it_is_away(engine: AsyncEngine) -> None:
    async with tool_server() as server:
        ref = await a_turn(engine, server.url)
        await ask(engine, ref, model([call("shop__add", a=1, b=2)]))
        asked = len(server.headers)
        await ask(engine, ref, model(["Done."]), 1)
        assert len(server.headers) == asked  # within minutes it is not asked again
    assert (await call_it(engine, ref)).status is CallStatus.FAILED
    status, code, said = await told(engine, ref)
    assert (status, code) == ("failed", "mcp_failed")
    assert "Nothing was called" in said


async def test_a_server_that_never_answered_leaves_its_agent_without_its_tools(engine: AsyncEngine) -> None:
    ref = await a_turn(engine, f"http://127.0.0.1:{free_port()}/mcp")
    generator = model(["I cannot look."])
    assert (await ask(engine, ref, generator)).answered
    assert list(generator.requests[0].tools) == []
    async with engine.connect() as connection:
        assert (await connection.execute(select(connections.c.catalogue))).scalar_one() is None


async def test_a_server_that_does_not_answer_is_not_waited_for_by_each_step(engine: AsyncEngine) -> None:
    async with running_site() as site:
        site.put("/mcp", status=503)
        ref, asked = await a_turn(engine, f"{site.url}/mcp"), 0
        for number in range(1, 4):
            with pytest.raises(ProviderError):
                await ask(engine, ref, model([ProviderError("Away.")]), number=number)
            asked = site.count("/mcp") if number == 1 else asked
        assert site.count("/mcp") == asked > 0


async def test_what_a_stranger_offers_that_cannot_be_stored_is_left_out(engine: AsyncEngine) -> None:
    tools = [
        {"name": "sum\0", "inputSchema": OBJECT},
        {"name": "nan", "inputSchema": OBJECT | {"properties": {"x": {"default": float("nan")}}}},
        {"name": "deep", "inputSchema": OBJECT | {"x": json.loads("[" * 100 + "]" * 100)}},
        {"name": "long", "inputSchema": OBJECT | {"x": "x" * 9000}},
        {"name": "add", "description": "Ad\0ds\u200b.", "inputSchema": OBJECT | {"properties": {"a\0": {}}}},
    ]
    async with listing_server(tools) as server:
        ref = await a_turn(engine, server.url)
        generator = model(["I cannot."])
        assert (await ask(engine, ref, generator)).answered
    (spec,) = generator.requests[0].tools
    assert (spec.name, spec.foreign, spec.parameters) == ("shop__add", "Adds.", OBJECT | {"properties": {"a": {}}})


async def test_a_list_that_never_ends_is_not_read_for_ever() -> None:
    async with listing_server([], endless=True) as server:
        catalogue = await McpCaller(allowed=LOOPBACK).catalogue(McpSecret(url=server.url))
    assert catalogue.tools == ()
    assert server.listed <= 20


async def test_a_private_address_is_refused_unless_it_is_allowed(server: ToolServer) -> None:
    with pytest.raises(McpFailed) as caught:
        await McpCaller().catalogue(McpSecret(url=server.url))
    assert "no public address" in caught.value.message
    assert server.headers == []


async def test_no_more_of_an_answer_is_read_than_may_be() -> None:
    async with running_site() as site:
        site.put("/mcp", behaviour=endless)
        with pytest.raises(McpFailed):
            await McpCaller(allowed=LOOPBACK).catalogue(McpSecret(url=f"{site.url}/mcp"))
