"""The paths of `AnswerTurn` where the bot is an agent."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory

from adapters.temporal.runs import start_turn
from domain.errors import ProviderAuth
from domain.runs import DECIDED_SIGNAL, turn_run
from domain.steps import Decisions, LoadedHistory, TurnRef
from domain.tools import ToolType
from tests.replay.turn_paths import Run, declined_step, played, played_beside_its_title, ref_of, stopped_when, until
from tests.workflows.agent_runs import ANSWERED, FAR, SEARCH, FakeAgent, asks
from tests.workflows.turn_runs import stalled

ASKS = asks(ToolType.ASK_BOT)
GATED = asks(ToolType.SEARCH_DOCUMENTS, needs_approval=True)


async def answered(client: Client) -> list[WorkflowHistory]:
    """Two calls beside each other, another one, then the answer."""
    two = asks(ToolType.SEARCH_DOCUMENTS, ToolType.SEARCH_DOCUMENTS)
    return await played(client, 40, FakeAgent(script=[two, SEARCH, ANSWERED]))


async def out_of_steps(client: Client) -> list[WorkflowHistory]:
    """An agent that asks for tools until it may not."""
    return await played(client, 41, FakeAgent(script=[SEARCH], bounds=FAR.model_copy(update={"max_steps": 2})))


async def failed_tool(client: Client) -> list[WorkflowHistory]:
    """A tool whose step fails for good."""

    async def fail() -> None:
        raise ProviderAuth("The key is refused.")

    return await played(client, 42, FakeAgent(search=fail))


async def out_of_time(client: Client) -> list[WorkflowHistory]:
    """A tool that outlives the agent's time."""
    bounds = FAR.model_copy(update={"max_seconds": 1})
    return await played(client, 43, FakeAgent(bounds=bounds, search=lambda: stalled(asyncio.Event())))


async def stopped(client: Client) -> list[WorkflowHistory]:
    """An agent that its user stops while a tool runs."""
    reached = asyncio.Event()
    return await stopped_when(client, 44, FakeAgent(search=lambda: stalled(reached)), reached)


async def approved(client: Client) -> list[WorkflowHistory]:
    """A call that a person allows."""
    fakes = FakeAgent(script=[GATED, ANSWERED])

    async def allow(run: Run) -> None:
        await fakes.looked.wait()
        fakes.decisions = Decisions(approved=(0,))
        await run.signal(DECIDED_SIGNAL)

    return await played(client, 45, fakes, allow)


async def consulted(client: Client) -> list[WorkflowHistory]:
    """An agent that asks another bot."""
    other = ref_of(4600)
    return await played(client, 46, FakeAgent(script=[ASKS, ANSWERED], other=other))


async def titled(client: Client) -> list[WorkflowHistory]:
    """An agent whose history is summarised first, and whose conversation is named beside its answer."""
    fakes = FakeAgent(loaded=LoadedHistory(messages=2, tokens=20, summarize=True, title=True))
    return await played_beside_its_title(client, 60, fakes, step="ask", times=2)


async def failed_model(client: Client) -> list[WorkflowHistory]:
    """An agent whose model declines."""
    return await played(client, 61, FakeAgent(ask=declined_step))


async def stopped_model(client: Client) -> list[WorkflowHistory]:
    """An agent that its user stops while the model is asked."""
    reached = asyncio.Event()
    return await stopped_when(client, 62, FakeAgent(ask=lambda: stalled(reached)), reached)


async def refused(client: Client) -> list[WorkflowHistory]:
    """A call that a person has refused before it was asked for."""
    return await played(client, 63, FakeAgent(script=[GATED, ANSWERED], decisions=Decisions()))


async def stopped_waiting(client: Client) -> list[WorkflowHistory]:
    """An agent that its user stops while it waits for a person."""
    fakes = FakeAgent(script=[GATED])
    return await stopped_when(client, 64, fakes, fakes.looked)


async def consulted_nobody(client: Client) -> list[WorkflowHistory]:
    """An agent that asks a bot which cannot be asked."""
    return await played(client, 65, FakeAgent(script=[ASKS, ANSWERED]))


async def consulted_before(client: Client) -> list[WorkflowHistory]:
    """An agent whose question to another bot is being answered already, as after a crash."""
    other, reached, go_on = ref_of(6600), asyncio.Event(), asyncio.Event()
    fakes = FakeAgent(script=[ASKS, ANSWERED], other=other, ready_at_look=2)

    async def held() -> None:
        reached.set()
        await go_on.wait()

    async def end_both(run: Run) -> None:
        await run.result()
        go_on.set()
        await client.get_workflow_handle(turn_run(other.conversation_id)).result()

    fakes.ask, fakes.write = begun(client, other, reached), held
    return await played(client, 66, fakes, end_both)


def begun(client: Client, other: TurnRef, reached: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """A model step before whose end another run answers the question that it asks, as housekeeping begins one."""

    async def begin() -> None:
        if not reached.is_set():
            await start_turn(client, other)
            await reached.wait()

    return begin


async def late_consultation_before(client: Client) -> list[WorkflowHistory]:
    """Another run's answer to the agent's question that outlives the agent's time."""
    other, reached = ref_of(7300), asyncio.Event()
    bounds = FAR.model_copy(update={"max_seconds": 4})  # less than the pause between two looks
    fakes = FakeAgent(script=[ASKS], bounds=bounds, other=other, ready_at_look=1000, write=lambda: stalled(reached))
    fakes.ask = begun(client, other, reached)
    return await played(client, 73, fakes)


async def stopped_consultation_before(client: Client) -> list[WorkflowHistory]:
    """An agent that its user stops while another run answers its question."""
    other, reached = ref_of(7400), asyncio.Event()
    fakes = FakeAgent(script=[ASKS], other=other, ready_at_look=1000, write=lambda: stalled(reached))
    fakes.ask = begun(client, other, reached)

    async def stop(run: Run) -> None:
        await until(run, EventType.EVENT_TYPE_TIMER_STARTED, times=2)  # the agent's time, and the pause after a look
        await run.cancel()

    return await played(client, 74, fakes, stop)


async def stopped_consultation(client: Client) -> list[WorkflowHistory]:
    """An agent that its user stops while another bot answers."""
    reached = asyncio.Event()
    fakes = FakeAgent(script=[ASKS], other=ref_of(6700), write=lambda: stalled(reached))
    return await stopped_when(client, 67, fakes, reached)


async def late_consultation(client: Client) -> list[WorkflowHistory]:
    """Another bot that outlives the agent's time: what it has written is taken."""
    bounds = FAR.model_copy(update={"max_seconds": 6})  # on a busy machine, too, the other one begins before
    fakes = FakeAgent(script=[ASKS], bounds=bounds, other=ref_of(6800), write=lambda: stalled(asyncio.Event()))
    return await played(client, 68, fakes)


async def lost_consultation(client: Client) -> list[WorkflowHistory]:
    """Another bot whose run is stopped from outside."""
    other, reached = ref_of(6900), asyncio.Event()

    async def terminate(_: Run) -> None:
        await reached.wait()
        await client.get_workflow_handle(turn_run(other.conversation_id)).terminate()

    fakes = FakeAgent(script=[ASKS, ANSWERED], other=other, write=lambda: stalled(reached))
    return await played(client, 69, fakes, terminate)


PATHS = {
    "agent": answered,
    "agent_titled": titled,
    "agent_approved": approved,
    "agent_refused": refused,
    "agent_consulted": consulted,
    "agent_consulted_nobody": consulted_nobody,
    "agent_consulted_before": consulted_before,
    "agent_late_consultation_before": late_consultation_before,
    "agent_stopped_consultation_before": stopped_consultation_before,
    "agent_out_of_steps": out_of_steps,
    "agent_out_of_time": out_of_time,
    "agent_late_consultation": late_consultation,
    "agent_lost_consultation": lost_consultation,
    "agent_failed_model": failed_model,
    "agent_failed_tool": failed_tool,
    "agent_stopped": stopped,
    "agent_stopped_model": stopped_model,
    "agent_stopped_waiting": stopped_waiting,
    "agent_stopped_consultation": stopped_consultation,
}
