"""Running one tool call: claimed, carried out, stored; a call that ended is not run again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.heartbeat import heartbeats
from activities.writer import this_writer
from adapters.postgres import connections, tool_calls, turns
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from adapters.postgres.tool_calls import Outcome
from domain import offers, tools
from domain.offers import Arguments, Offer, Refusal
from domain.ports import ToolCall
from domain.steps import CallEnded, CallRef, TurnRef
from domain.tools import CallStatus, Mcp, Tool

# Within one attempt; a result that is had is worth waiting for.
_PATIENCE = timedelta(seconds=60)

Perform = Callable[[Tool, Arguments], Awaitable[Outcome]]
"""Carries a call out. What the tool says of itself is an outcome; what it raises is tried again."""


class ToolCalls:
    """Wraps what a tool does in what every tool call needs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run(self, at: CallRef, perform: Perform) -> CallEnded:
        """Carry a call out once, however often it is tried; one that may not run twice is never begun again."""
        async with heartbeats():
            claimed = await patiently(lambda: self._claim(at), within=_PATIENCE)
            if isinstance(claimed, CallEnded):
                return claimed
            if isinstance(claimed.read, Refusal):
                outcome = Outcome(CallStatus.FAILED, claimed.read.message, code="tool_unknown")
            else:
                outcome = await perform(*claimed.read)
            return await patiently(lambda: self._end(at, claimed.attempt, outcome), within=_PATIENCE)

    async def _claim(self, at: CallRef) -> "_Claimed | CallEnded":
        async with transaction(self._engine) as connection:
            question = await turns.question(connection, at.ref)
            call = await tool_calls.call(connection, at)
            read = read_call(await offers_of(connection, at.ref, question.configuration.tools), call)
            repeatable = isinstance(read, Refusal) or offers.is_repeatable(*read)
            claim = await tool_calls.claim_call(connection, at, this_writer(), repeatable=repeatable)
            return claim if isinstance(claim, CallEnded) else _Claimed(claim, read)

    async def _end(self, at: CallRef, attempt: int, outcome: Outcome) -> CallEnded:
        async with transaction(self._engine) as connection:
            return await tool_calls.end_call(connection, at, attempt, outcome)


@dataclass(frozen=True, slots=True)
class _Claimed:
    attempt: int
    read: tuple[Tool, Arguments] | Refusal


async def offers_of(connection: AsyncConnection, ref: TurnRef, configured: Sequence[Tool]) -> list[Offer]:
    """Give what the bot's tools offer now, by what their servers said last."""
    servers = list(tools.connections_of([tool for tool in configured if isinstance(tool, Mcp)]))
    return offers.of(configured, await connections.catalogues(connection, ref.owner_id, servers))


def read_call(offered: Sequence[Offer], call: ToolCall) -> tuple[Tool, Arguments] | Refusal:
    """Read the call by the bot's configuration as it is now: a tool that was taken away is not run."""
    offer = offers.find(offered, call.name)
    if offer is None:
        return offers.unknown_tool(offered, call.name)
    read = offers.read_arguments(offer, call.arguments)
    return read if isinstance(read, Refusal) else (offer.tool, read)
