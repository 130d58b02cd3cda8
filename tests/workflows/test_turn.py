"""`AnswerTurn` on the time-skipping server, replayed at every task: order, failures, stops."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.conversation import TurnOutcome
from domain.errors import DomainError, ProviderAuth, ProviderError, ProviderRateLimited, SafetyBlocked
from domain.steps import LoadedHistory, Persisted, PersistTurn, Retrieved
from tests.servers import TemporalServer
from tests.workflows.turn_runs import MESSAGE, FakeSteps, a_turn, stalled, start, workers

STORED = Persisted(message_id=MESSAGE, citations=1)
SUMMARIZED = LoadedHistory(messages=2, tokens=20, summarize=True)
UNTITLED = LoadedHistory(messages=0, tokens=0, title=True)


async def test_a_turn_loads_retrieves_generates_and_persists(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeSteps(), a_turn()
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, ref)).result() == STORED
    assert fakes.calls == ["load_history", "retrieve", "generate", "persist"]
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)]


async def test_a_question_is_understood_and_searched_for_in_one_step(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(loaded=LoadedHistory(messages=2, tokens=20, searches_understood=True))
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "understand_and_retrieve", "generate", "persist"]


async def test_a_run_of_an_older_release_understands_its_question_in_a_step_of_its_own(
    temporal_env: WorkflowEnvironment,
) -> None:
    fakes = FakeSteps(loaded=LoadedHistory(messages=2, tokens=20, understand=True))
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "understand_question", "retrieve", "generate", "persist"]


async def test_a_question_that_cannot_be_understood_is_answered_all_the_same(
    temporal_env: WorkflowEnvironment,
) -> None:
    async def fail() -> None:
        raise OSError("the database is away")

    fakes = FakeSteps(loaded=LoadedHistory(messages=2, tokens=20, understand=True), understand=fail)
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", *["understand_question"] * 2, "retrieve", "generate", "persist"]
    assert fakes.ends[0].outcome is TurnOutcome.COMPLETE


async def test_what_was_found_is_put_in_order_before_the_answer(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(found=Retrieved(passages=20, rerank=True, relevance=0.5))
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "retrieve", "rerank", "generate", "persist"]


async def test_where_nothing_is_known_no_model_is_asked(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeSteps(found=Retrieved(passages=0, unknown=True)), a_turn()
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, ref)).result() == STORED
    assert fakes.calls == ["load_history", "retrieve", "decline", "persist"]
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (SafetyBlocked("The model declined."), 1),
        (ProviderAuth("The key is refused."), 1),
        (ProviderError("Away."), 3),
        (ProviderRateLimited("A pause, please.", retry_after=timedelta(seconds=40)), 3),
        (ProviderRateLimited("Tomorrow, please.", retry_after=timedelta(hours=9)), 1),
    ],
)
async def test_a_generation_that_fails_for_good_is_a_recorded_end(
    temporal_env: WorkflowEnvironment, error: DomainError, attempts: int
) -> None:
    async def fail() -> None:
        raise error

    fakes, ref = FakeSteps(write=fail), a_turn()
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, ref)).result() == STORED
    assert fakes.calls.count("generate") == attempts
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.FAILED, code=error.code, message=error.message)]


async def test_an_error_nobody_foresaw_does_not_leave_the_process_in_words(temporal_env: WorkflowEnvironment) -> None:
    async def fail() -> None:
        raise ValueError("secret text of a document")

    fakes, ref = FakeSteps(write=fail), a_turn()
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, ref)).result()
    (end,) = fakes.ends
    assert (end.outcome, end.code) == (TurnOutcome.FAILED, "internal")
    assert "secret" not in (end.message or "")


async def test_a_retrieval_is_tried_again_until_it_holds(temporal_env: WorkflowEnvironment) -> None:
    failures = [ProviderError("Away."), ProviderError("Away.")]

    async def fail_twice() -> None:
        if failures:
            raise failures.pop()

    fakes = FakeSteps(find=fail_twice)
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", *["retrieve"] * 3, "generate", "persist"]
    assert fakes.ends[0].outcome is TurnOutcome.COMPLETE


async def test_storing_the_end_is_tried_until_it_holds(temporal_env: WorkflowEnvironment) -> None:
    failures = [OSError("the database is away") for _ in range(4)]

    async def fail_often() -> None:
        if failures:
            raise failures.pop()

    fakes = FakeSteps(store=fail_often)
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, a_turn())).result() == STORED
    assert fakes.calls.count("persist") == 5


async def test_a_summary_that_is_needed_comes_before_the_search(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeSteps(loaded=SUMMARIZED), a_turn()
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, ref)).result() == STORED
    assert fakes.calls == ["load_history", "summarize_history", "retrieve", "generate", "persist"]


async def test_a_summary_that_fails_is_left_out(temporal_env: WorkflowEnvironment) -> None:
    async def fail() -> None:
        raise ProviderError("Away.")

    fakes, ref = FakeSteps(loaded=SUMMARIZED, sum_up=fail), a_turn()
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, ref)).result()
    assert fakes.calls == ["load_history", *["summarize_history"] * 2, "retrieve", "generate", "persist"]
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)]


async def test_a_title_is_found_in_the_step_of_the_answer(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(loaded=LoadedHistory(messages=0, tokens=0, answers_titled=True))
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls == ["load_history", "retrieve", "generate_titled", "persist"]


async def test_a_title_is_found_where_nothing_is_known(temporal_env: WorkflowEnvironment) -> None:
    loaded = LoadedHistory(messages=0, tokens=0, answers_titled=True)
    fakes = FakeSteps(loaded=loaded, found=Retrieved(passages=0, unknown=True))
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert sorted(fakes.calls) == ["decline", "load_history", "persist", "retrieve", "title"]
    assert fakes.calls[-1] == "persist"


async def test_a_title_is_found_beside_the_answer(temporal_env: WorkflowEnvironment) -> None:
    named = asyncio.Event()

    async def name() -> None:
        named.set()

    fakes, ref = FakeSteps(loaded=UNTITLED, name=name, write=named.wait), a_turn()  # type: ignore[arg-type]  # of no interest
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, ref)).result() == STORED
    assert sorted(fakes.calls[1:-1]) == ["generate", "retrieve", "title"]
    assert fakes.calls[-1] == "persist"


async def test_a_title_that_fails_or_takes_too_long_is_left_out(temporal_env: WorkflowEnvironment) -> None:
    async def fail() -> None:
        raise ProviderError("Away.")

    for name in (fail, lambda: stalled(asyncio.Event())):
        fakes, ref = FakeSteps(loaded=UNTITLED, name=name), a_turn()
        async with workers(temporal_env.client, fakes):
            await (await start(temporal_env.client, ref)).result()
        assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)]


async def test_a_turn_that_fails_has_its_title_all_the_same(temporal_env: WorkflowEnvironment) -> None:
    named = asyncio.Event()

    async def name() -> None:
        named.set()

    async def fail() -> None:
        await named.wait()
        raise SafetyBlocked("The model declined.")

    fakes = FakeSteps(loaded=UNTITLED, name=name, write=fail)
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_turn())).result()
    assert fakes.calls.count("title") == 1
    assert fakes.ends[0].outcome is TurnOutcome.FAILED


async def test_a_stop_during_a_summary_ends_the_turn(temporal_env: WorkflowEnvironment) -> None:
    reached = asyncio.Event()
    fakes, ref = FakeSteps(loaded=SUMMARIZED, sum_up=lambda: stalled(reached)), a_turn()
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await reached.wait()
        await handle.cancel()
        assert await handle.result() == STORED
    assert fakes.calls == ["load_history", "summarize_history", "persist"]
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.PARTIAL)]


@pytest.mark.parametrize("step", ["find", "write"])
async def test_a_stop_keeps_what_there_is(temporal_env: WorkflowEnvironment, step: str) -> None:
    reached = asyncio.Event()
    fakes, ref = FakeSteps(), a_turn()
    setattr(fakes, step, lambda: stalled(reached))
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await reached.wait()
        await handle.cancel()
        assert await handle.result() == STORED
    assert fakes.ends == [PersistTurn(ref=ref, outcome=TurnOutcome.PARTIAL)]
    assert ("generate" in fakes.calls) == (step == "write")


async def test_a_stop_while_a_step_ignores_it_begins_no_further_step(dev_server: TemporalServer) -> None:
    # The time-skipping server refuses a workflow task that cancels an activity which has just completed.
    client = await dev_server.client()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def deaf() -> None:
        reached.set()
        await go_on.wait()

    fakes = FakeSteps(find=deaf)
    async with workers(client, fakes):
        handle = await start(client, a_turn())
        await reached.wait()
        await handle.cancel()
        go_on.set()
        await handle.result()
    assert fakes.calls == ["load_history", "retrieve", "persist"]
    assert fakes.ends[0].outcome is TurnOutcome.PARTIAL


async def test_a_turn_that_is_stopped_before_a_worker_takes_it_is_closed(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeSteps(), a_turn()
    handle = await start(temporal_env.client, ref)
    await handle.cancel()
    async with workers(temporal_env.client, fakes):
        await handle.result()
    assert [end.outcome for end in fakes.ends] == [TurnOutcome.PARTIAL]
    assert "generate" not in fakes.calls


async def test_a_stop_that_comes_while_the_answer_is_stored_comes_too_late(temporal_env: WorkflowEnvironment) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reached.set()
        await go_on.wait()

    fakes, ref = FakeSteps(store=slow), a_turn()
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await reached.wait()
        await handle.cancel()
        go_on.set()
        assert await handle.result() == STORED
    # The workflow task that stored it may be refused for the stop that it has not seen, and the local step runs again:
    # the first end is the one that holds.
    assert fakes.ends[0] == PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)
