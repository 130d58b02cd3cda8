"""The tools of a server that speaks MCP: each call is made once at most."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.tool_calls import ToolCalls
from adapters.postgres import connections
from adapters.postgres.tool_calls import UNKNOWN, Outcome
from adapters.sealing import Sealer
from adapters.tools.mcp import McpCaller
from adapters.tools.mcp_results import NotCalled
from domain import steps
from domain.connections import ConnectionKind, McpSecret
from domain.errors import DomainError, McpFailed
from domain.offers import Arguments, McpArguments, cut
from domain.steps import CallEnded, CallRef, TurnRef
from domain.storing import storable
from domain.tools import CallStatus, Mcp, Tool


class McpCalls:
    """Calls a server's tool with the owner's secret, which the model never sees."""

    def __init__(self, engine: AsyncEngine, caller: McpCaller, sealer: Sealer) -> None:
        self._engine = engine
        self._caller = caller
        self._sealer = sealer
        self._calls = ToolCalls(engine)

    @activity.defn(name=steps.MCP_CALL.name)
    async def mcp_call(self, at: CallRef) -> CallEnded:
        """Call what the model asks for, where the owner allows it."""
        return await self._calls.run(at, partial(self._perform, at.ref))

    async def _perform(self, ref: TurnRef, tool: Tool, arguments: Arguments) -> Outcome:
        assert isinstance(tool, Mcp)  # noqa: S101  (of this step)
        assert isinstance(arguments, McpArguments)  # noqa: S101  (of this tool)
        try:
            async with self._engine.connect() as connection:
                sealed = await connections.sealed(connection, ref.owner_id, tool.connection_id, ConnectionKind.MCP)
            secret = McpSecret.model_validate_json(self._sealer.open(sealed))
        except DomainError as error:
            return Outcome(CallStatus.FAILED, error.message, code=error.code)
        return await self._call(tool, arguments, secret)

    async def _call(self, tool: Mcp, asked: McpArguments, secret: McpSecret) -> Outcome:
        try:
            called = await self._caller.call(secret, asked.name, asked.arguments, seconds=tool.seconds)
        except NotCalled as error:
            return Outcome(CallStatus.FAILED, f"{error} Nothing was called.", code=McpFailed.code)
        except McpFailed as error:
            return Outcome(CallStatus.UNKNOWN, f"{error.message} {UNKNOWN}", code="tool_outcome_unknown")
        text = cut(storable(called.text))
        if called.failed:
            return Outcome(CallStatus.FAILED, text, code="tool_failed")
        return Outcome(CallStatus.COMPLETE, text)
