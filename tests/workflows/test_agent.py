"""An agent's loop on the time-skipping server, replayed at every task: order, bounds, failures, stops."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.conversation import TurnOutcome
from domain.errors import ProviderError, SafetyBlocked
from domain.runs import DECIDED_SIGNAL, turn_run
from domain.steps import AgentBounds, Decisions, PersistTurn
from domain.tools import ToolType
from tests.servers import TemporalServer
from tests.workflows.agent_runs import ANSWERED, FAR, SEARCH, FakeAgent, asks
from tests.workflows.turn_runs import a_turn, stalled, start, workers


async def test_an_agent_asks_runs_tools_and_asks_again_until_it_answers(temporal_env: WorkflowEnvironment) -> None:
    two = asks(ToolType.SEARCH_DOCUMENTS, ToolType.SEARCH_DOCUMENTS)
    fakes, ref = FakeAgent(script=[two, SEARCH, ANSWERED]), a_turn()
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, ref)).result()
    assert fakes.calls == [
        "load_history", "model_step", "search_documents", "search_documents", "model_step", "search_documents",
        "model_step", "persist",
    ]  # fmt: skip
    assert sorted(fakes.searched) == [(0, 0), (0, 1), (1, 0)]
    assert [(at.number, at.last) for at in fakes.asked] == [(0, False), (1, False), (2, False)]
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)]


async def test_a_step_whose_calls_were_all_refused_is_followed_by_another(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeAgent(script=[asks(), ANSWERED])
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "model_step", "model_step", "persist"]


@pytest.mark.parametrize(
    ("bounds", "steps"),
    [
        (FAR.model_copy(update={"max_steps": 2}), 3),
        (FAR.model_copy(update={"max_tokens": 30}), 4),  # ten a step
    ],
)
async def test_an_agent_that_reaches_a_bound_is_asked_once_more_without_tools(
    temporal_env: WorkflowEnvironment, bounds: AgentBounds, steps: int
) -> None:
    fakes = FakeAgent(script=[SEARCH], bounds=bounds)
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert [at.last for at in fakes.asked] == [False] * (steps - 1) + [True]
    assert len(fakes.searched) == steps - 1
    assert fakes.ends[0].outcome is TurnOutcome.COMPLETE


async def test_a_tool_that_outlives_the_agents_time_is_stopped_and_the_model_answers(
    dev_server: TemporalServer,
) -> None:
    client = await dev_server.client()
    fakes = FakeAgent(script=[SEARCH], bounds=FAR.model_copy(update={"max_seconds": 1}))
    fakes.search = lambda: stalled(asyncio.Event())
    async with workers(client, fakes):
        await (await start(client, a_turn())).result()
    (settled,) = fakes.settled
    assert (settled.call.step, settled.call.number, settled.code) == (0, 0, "tool_timeout")
    assert [at.last for at in fakes.asked] == [False, True]
    assert fakes.ends[0].outcome is TurnOutcome.COMPLETE


async def test_a_tool_that_fails_for_good_is_told_to_the_model(temporal_env: WorkflowEnvironment) -> None:
    async def fail() -> None:
        raise ProviderError("Away.")

    fakes = FakeAgent(search=fail)
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls.count("search_documents") == 3
    (settled,) = fakes.settled
    assert (settled.code, settled.message) == ("provider_unavailable", "Away.")
    assert fakes.calls[-2:] == ["model_step", "persist"]
    assert fakes.ends[0].outcome is TurnOutcome.COMPLETE


async def test_a_model_step_that_fails_for_good_fails_the_turn(temporal_env: WorkflowEnvironment) -> None:
    async def fail() -> None:
        raise SafetyBlocked("The model declined.")

    fakes, ref = FakeAgent(ask=fail), a_turn()
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, ref)).result()
    assert fakes.ends == [
        PersistTurn(ref=ref, outcome=TurnOutcome.FAILED, code="safety_blocked", message="The model declined.")
    ]


@pytest.mark.parametrize("where", ["ask", "search"])
async def test_a_stop_ends_an_agent_wherever_it_is(dev_server: TemporalServer, where: str) -> None:
    client = await dev_server.client()
    reached = asyncio.Event()
    fakes, ref = FakeAgent(script=[SEARCH]), a_turn()
    setattr(fakes, where, lambda: stalled(reached))
    async with workers(client, fakes):
        handle = await start(client, ref)
        await reached.wait()
        await handle.cancel()
        await handle.result()
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.PARTIAL)]
    assert fakes.calls.count("model_step") == 1
    assert fakes.settled == []


GATED = asks(ToolType.SEARCH_DOCUMENTS, needs_approval=True)


async def test_a_call_that_needs_approval_waits_for_days_and_that_time_is_not_the_agents(
    temporal_env: WorkflowEnvironment,
) -> None:
    fakes = FakeAgent(script=[GATED, ANSWERED], bounds=FAR.model_copy(update={"max_seconds": 60}))
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_turn())
        await fakes.looked.wait()
        await temporal_env.sleep(timedelta(days=3))
        assert fakes.searched == []
        fakes.decisions = Decisions(approved=(0,))
        await handle.signal(DECIDED_SIGNAL)
        await handle.result()
    assert fakes.searched == [(0, 0)]
    assert [at.last for at in fakes.asked] == [False, False]
    assert fakes.ends[0].outcome is TurnOutcome.COMPLETE


async def test_a_decision_that_was_there_before_is_not_waited_for(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeAgent(script=[GATED, ANSWERED], decisions=Decisions(approved=(0,)))
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "model_step", "read_decisions", "search_documents", "model_step", "persist"]


async def test_a_call_that_is_refused_is_not_run_and_the_model_goes_on(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeAgent(script=[GATED, ANSWERED], decisions=Decisions())
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "model_step", "read_decisions", "model_step", "persist"]


async def test_a_stop_ends_an_agent_that_waits_for_a_person(dev_server: TemporalServer) -> None:
    client = await dev_server.client()
    fakes, ref = FakeAgent(script=[GATED]), a_turn()
    async with workers(client, fakes):
        handle = await start(client, ref)
        await fakes.looked.wait()
        await handle.cancel()
        await handle.result()
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.PARTIAL)]
    assert fakes.searched == []


ASKS = asks(ToolType.ASK_BOT)


async def test_another_bot_answers_in_a_run_of_its_own(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeAgent(script=[ASKS, ANSWERED], other=a_turn()), a_turn()
    async with workers(temporal_env.client, fakes, cached=True):  # two runs at once: see `workers`
        await (await start(temporal_env.client, ref)).result()
    assert fakes.calls == [
        "load_history", "model_step", "open_consultation", "load_history", "retrieve", "generate", "persist",
        "close_consultation", "model_step", "persist",
    ]  # fmt: skip
    assert [end.ref for end in fakes.ends] == [fakes.other, ref]


async def test_a_bot_that_cannot_be_asked_is_not_waited_for(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeAgent(script=[ASKS, ANSWERED])
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "model_step", "open_consultation", "model_step", "persist"]


async def test_an_answer_that_another_run_is_writing_already_is_waited_for(dev_server: TemporalServer) -> None:
    client = await dev_server.client()
    fakes = FakeAgent(script=[ASKS, ANSWERED], other=a_turn(), ready_at_look=2)
    assert fakes.other is not None
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        reached.set()
        await go_on.wait()

    fakes.write = held
    async with workers(client, fakes, cached=True):  # two runs at once: see `workers`
        first = await start(client, fakes.other)  # as housekeeping starts what a crash left pending
        await reached.wait()
        handle = await start(client, a_turn())
        await handle.result()
        go_on.set()
        await first.result()
    assert fakes.looks == 2
    assert fakes.calls.count("generate") == 1


async def test_a_stop_of_an_agent_stops_the_bot_that_it_asked(dev_server: TemporalServer) -> None:
    client = await dev_server.client()
    fakes, ref, reached = FakeAgent(script=[ASKS], other=a_turn()), a_turn(), asyncio.Event()
    fakes.write = lambda: stalled(reached)
    async with workers(client, fakes, cached=True):
        handle = await start(client, ref)
        await reached.wait()
        await handle.cancel()
        await handle.result()
        assert fakes.other is not None
        await client.get_workflow_handle(turn_run(fakes.other.conversation_id)).result()
    assert sorted(end.outcome for end in fakes.ends) == [TurnOutcome.PARTIAL, TurnOutcome.PARTIAL]


@pytest.mark.parametrize("max_seconds", [3600, 6], ids=["stopped", "out of time"])
async def test_the_end_of_an_agent_stops_an_answer_that_another_run_is_writing(
    dev_server: TemporalServer, max_seconds: int
) -> None:
    client = await dev_server.client()
    bounds = FAR.model_copy(update={"max_seconds": max_seconds})
    fakes = FakeAgent(script=[ASKS, ANSWERED], other=a_turn(), ready_at_look=1000, bounds=bounds)
    assert fakes.other is not None
    reached = asyncio.Event()
    fakes.write = lambda: stalled(reached)
    async with workers(client, fakes, cached=True):  # two runs at once: see `workers`
        first = await start(client, fakes.other)  # as housekeeping starts what a crash left pending
        await reached.wait()
        handle = await start(client, a_turn())
        await fakes.looked.wait()
        if max_seconds > 60:
            await handle.cancel()
        await handle.result()
        await first.result()
    ended = {end.ref: end.outcome for end in fakes.ends}
    assert ended[fakes.other] is TurnOutcome.PARTIAL
    assert len(ended) == 2
