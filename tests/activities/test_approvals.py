"""Calls that need a person, on a real database: nothing runs before, and what was decided is taken up once."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import approvals
from adapters.postgres.approvals import Decision
from domain.conversation import TurnOutcome
from domain.errors import NotFound, StateConflict, TurnClosed
from domain.ids import ConversationId
from domain.steps import Decisions, ModelStepRef, TurnRef
from domain.tools import CallStatus
from tests.activities.agent_steps import SEARCH, agent, an_agents_turn, ask, call, model, search
from tests.activities.turn_steps import NOW, attempt, events_of, persist

GATED = SEARCH | {"needs_approval": True}
BOTH = [call("search_documents", "a", query="warranty"), call("search_documents", "b", query="batteries")]


async def waiting(engine: AsyncEngine) -> TurnRef:
    """An agent's turn with two calls that wait."""
    ref = await an_agents_turn(engine, ["The warranty lasts two years."], tools=[GATED])
    stepped = await ask(engine, ref, model(BOTH))
    assert [planned.needs_approval for planned in stepped.calls] == [True, True]
    return ref


async def decide(engine: AsyncEngine, ref: TurnRef, number: int, approved: bool, comment: str | None = None) -> None:
    async with engine.begin() as connection:
        await approvals.decide(connection, ref.turn_id, number, Decision(approved, comment), now=NOW)


async def take_up(engine: AsyncEngine, ref: TurnRef) -> Decisions:
    return await attempt(agent(engine, model([])).read_decisions, ModelStepRef(ref=ref, number=0))


async def test_each_call_is_asked_for_by_number_and_runs_for_nobody_before(engine: AsyncEngine) -> None:
    ref = await waiting(engine)
    asked = [data for type_, data in await events_of(engine, ref) if type_ == "tool.approval_required"]
    assert [(data["approval"], data["arguments"]) for data in asked] == [
        (1, {"query": "warranty"}), (2, {"query": "batteries"}),
    ]  # fmt: skip
    assert await take_up(engine, ref) == Decisions(waiting=2)
    with pytest.raises(TurnClosed):
        await search(engine, ref)


async def test_what_is_allowed_runs_and_what_is_refused_ends_with_the_persons_words(engine: AsyncEngine) -> None:
    ref = await waiting(engine)
    await decide(engine, ref, 1, True)
    assert await take_up(engine, ref) == Decisions(approved=(0,), waiting=1)
    await decide(engine, ref, 2, False, "Not the batteries.")
    for _ in range(2):
        assert await take_up(engine, ref) == Decisions(approved=(0,))
    assert (await search(engine, ref)).status is CallStatus.COMPLETE
    assert (await search(engine, ref, call=1)).status is CallStatus.REJECTED
    generator = model(["Done."])
    await ask(engine, ref, generator, 1)
    allowed, refused = generator.requests[0].steps[0].results
    assert (allowed.failed, refused.failed) == (False, True)
    assert "Not the batteries." in refused.content
    ends = [data["status"] for type_, data in await events_of(engine, ref) if type_ == "tool.completed"]
    assert ends == ["rejected", "complete"]


async def test_a_decision_stands_and_may_be_sent_again(engine: AsyncEngine) -> None:
    ref = await waiting(engine)
    for _ in range(2):
        await decide(engine, ref, 1, True)
    with pytest.raises(StateConflict):
        await decide(engine, ref, 1, False)
    with pytest.raises(NotFound):
        await decide(engine, ref, 3, True)


async def test_a_run_that_has_not_heard_is_named_until_it_has(engine: AsyncEngine) -> None:
    ref = await waiting(engine)

    async def unheard() -> list[ConversationId]:
        async with engine.connect() as connection:
            return await approvals.unheard(connection, before=NOW.replace(year=2027), limit=10)

    assert await unheard() == []
    await decide(engine, ref, 1, True)
    assert await unheard() == [ref.conversation_id]
    await take_up(engine, ref)
    assert await unheard() == []


async def test_a_turn_that_was_stopped_takes_nothing_up(engine: AsyncEngine) -> None:
    ref = await waiting(engine)
    await decide(engine, ref, 1, True)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    with pytest.raises(TurnClosed):
        await take_up(engine, ref)
