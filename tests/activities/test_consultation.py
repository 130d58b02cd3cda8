"""A bot that asks another, on a real database: one conversation, one turn, one answer."""

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.consultation import Consultations
from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import housekeeping
from adapters.postgres.tables import conversations, turns
from domain.conversation import TurnOutcome
from domain.ids import BotId, UserId
from domain.steps import CallEnded, CallRef, SettleCall, TurnRef
from domain.tools import CONSULTATIONS_DEEP, CallStatus
from tests.activities.agent_steps import agent, an_agents_turn, ask, call, calls_of, model
from tests.activities.turn_steps import answer_of, answered, attempt, events_of, load, persist, turn_of
from tests.builders import a_bot, a_ready_document, a_user
from tests.fakes import WordEmbedder

WARRANTY = "The warranty lasts two years."


async def asking(engine: AsyncEngine, owner: UserId, bot: BotId) -> TurnRef:
    """A turn whose model asks this bot."""
    tool: dict[str, Any] = {"type": "ask_bot", "bot_id": str(bot)}
    ref = await an_agents_turn(engine, tools=[tool], owner=owner)
    assert (await ask(engine, ref, model([call("ask_bot", question="How long is the warranty?")]))).calls
    return ref


async def open_it(engine: AsyncEngine, ref: TurnRef) -> TurnRef | None:
    at = CallRef(ref=ref, step=0, number=0)
    return (await attempt(Consultations(engine).open_consultation, at)).turn


async def close_it(engine: AsyncEngine, ref: TurnRef) -> CallEnded:
    return await attempt(Consultations(engine).close_consultation, CallRef(ref=ref, step=0, number=0))


async def test_the_question_is_a_turn_of_the_other_bot_and_its_answer_the_calls_result(engine: AsyncEngine) -> None:
    owner, other = await a_bot(engine, name="Warranties")
    await a_ready_document(engine, owner, other, [WARRANTY], WordEmbedder(), name="terms.pdf")
    ref = await asking(engine, owner, other)
    first, again = await open_it(engine, ref), await open_it(engine, ref)
    assert first is not None
    assert first == again
    assert (first.owner_id, first.bot_id) == (owner, other)
    assert (await close_it(engine, ref)).status is CallStatus.RUNNING
    await answered(engine, first, 'It says "The warranty lasts two years" [1].')
    for _ in range(2):
        assert (await close_it(engine, ref)).status is CallStatus.COMPLETE
    (row,) = await calls_of(engine, ref)
    assert row.result == 'It says "The warranty lasts two years".\n(It rests on: terms.pdf, page 1)'
    async with engine.connect() as connection:
        titles = (await connection.execute(select(conversations.c.title).where(conversations.c.bot_id == other))).all()
        depth = await connection.scalar(select(turns.c.depth).where(turns.c.id == first.turn_id))
    assert ([title for (title,) in titles], depth) == (["Asked by Helper"], 1)
    assert await open_it(engine, ref) is None


@pytest.mark.parametrize("outcome", [TurnOutcome.FAILED, TurnOutcome.PARTIAL])
async def test_a_bot_that_does_not_answer_is_a_failure_that_the_model_is_told(
    engine: AsyncEngine, outcome: TurnOutcome
) -> None:
    owner, other = await a_bot(engine)
    ref = await asking(engine, owner, other)
    turn = await open_it(engine, ref)
    assert turn is not None
    await load(engine, turn)
    await persist(engine, turn, outcome, code="safety_blocked", message="The model declined.")
    assert (await close_it(engine, ref)).status is CallStatus.FAILED
    assert (await calls_of(engine, ref))[0].error_code == "bot_failed"


async def test_a_conversation_that_was_deleted_meanwhile_is_an_end_as_well(engine: AsyncEngine) -> None:
    owner, other = await a_bot(engine)
    ref = await asking(engine, owner, other)
    turn = await open_it(engine, ref)
    assert turn is not None
    async with engine.begin() as connection:
        await connection.execute(conversations.delete().where(conversations.c.id == turn.conversation_id))
    assert (await close_it(engine, ref)).status is CallStatus.FAILED


async def test_only_a_bot_of_the_same_owner_that_is_there_and_active_is_asked(engine: AsyncEngine) -> None:
    owner = await a_user(engine)
    _, inactive = await a_bot(engine, owner, status="inactive")
    _, strangers = await a_bot(engine)
    for other in (inactive, strangers, BotId(new_id())):
        ref = await asking(engine, owner, other)
        assert await open_it(engine, ref) is None
        (row,) = await calls_of(engine, ref)
        assert (row.status, row.error_code) == ("failed", "bot_unavailable")


async def test_bots_that_ask_each_other_come_to_an_end(engine: AsyncEngine) -> None:
    owner, other = await a_bot(engine)
    ref = await asking(engine, owner, other)
    async with engine.begin() as connection:
        await connection.execute(update(turns).values(depth=CONSULTATIONS_DEEP).where(turns.c.id == ref.turn_id))
    assert await open_it(engine, ref) is None
    (row,) = await calls_of(engine, ref)
    assert "asked by bots too often" in row.result


# A question that nobody has taken up when its asker is done with it


async def asked(engine: AsyncEngine) -> tuple[TurnRef, TurnRef]:
    """A turn, and the one of the bot that it has just asked."""
    owner, other = await a_bot(engine)
    ref = await asking(engine, owner, other)
    turn = await open_it(engine, ref)
    assert turn is not None
    return ref, turn


async def assert_given_up(engine: AsyncEngine, turn: TurnRef) -> None:
    """Nobody will answer, and who looks is told what is told of a turn that was stopped before it began."""
    async with engine.connect() as connection:
        assert turn not in await housekeeping.pending_turns(connection, before=now(), limit=10_000)
    assert ((await turn_of(engine, turn)).status, (await answer_of(engine, turn)).status) == ("partial", "partial")
    assert [type_ for type_, _ in await events_of(engine, turn)] == ["turn.cancelled"]


@pytest.mark.parametrize("outcome", TurnOutcome)
async def test_the_end_of_a_turn_takes_back_what_it_asked(engine: AsyncEngine, outcome: TurnOutcome) -> None:
    ref, turn = await asked(engine)
    for _ in range(2):
        await persist(engine, ref, outcome)
    await assert_given_up(engine, turn)


async def test_a_turn_that_lost_its_run_takes_back_what_it_asked(engine: AsyncEngine) -> None:
    ref, turn = await asked(engine)
    async with engine.begin() as connection:
        seen = [row for row in await housekeeping.unfinished_turns(connection, before=now()) if row.ref == ref]
        assert await housekeeping.lose_turn(connection, seen[0], now=now())
    await assert_given_up(engine, turn)


async def test_a_call_that_is_given_up_takes_back_what_it_asked(engine: AsyncEngine) -> None:
    ref, turn = await asked(engine)
    settle = SettleCall(call=CallRef(ref=ref, step=0, number=0), code="tool_timeout", message="Too late.")
    for _ in range(2):
        await attempt(agent(engine, model([])).settle_call, settle)
    await assert_given_up(engine, turn)
    assert (await turn_of(engine, ref)).status == "running"


async def test_what_has_begun_to_answer_ends_by_its_own_run(engine: AsyncEngine) -> None:
    ref, turn = await asked(engine)
    await load(engine, turn)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    assert (await turn_of(engine, turn)).status == "running"
