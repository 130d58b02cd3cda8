"""An agent's model step and its searches on a real database: stored once, paid once, told once."""

import asyncio
import json
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from activities import document_search
from adapters.postgres.search import search as search_documents
from adapters.postgres.tables import agent_steps
from domain.conversation import TurnOutcome
from domain.errors import ProviderError, ProviderMalformed, ToolsUnsupported, TurnClosed
from domain.ports import Vectors
from domain.steps import CallEnded, CallRef, ModelStepped, PlannedCall, SettleCall
from domain.tools import CALLS_A_STEP, CallStatus, ToolType
from tests.activities.agent_steps import SEARCH, agent, an_agents_turn, ask, call, calls_of, model, search
from tests.activities.turn_steps import answer_of, attempt, events_of, persist, turn_of
from tests.fakes import ScriptedGenerator, WordEmbedder

WARRANTY = "The warranty lasts two years."
PLANNED = PlannedCall(number=0, tool=ToolType.SEARCH_DOCUMENTS)
COMPLETE = CallEnded(status=CallStatus.COMPLETE)


class SlowEmbedder(WordEmbedder):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def embed_query(self, text: str) -> Vectors:
        self.reached.set()
        await self.go_on.wait()
        return await super().embed_query(text)


async def test_an_agent_searches_and_answers_with_a_citation_that_holds(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY, "Batteries are excluded."])
    generator = model(
        ["Let me look. ", call("search_documents", query="warranty")], ['"lasts two years" [1], not [9].']
    )
    asked = await ask(engine, ref, generator)
    assert asked == ModelStepped(answered=False, calls=(PLANNED,), tokens=18)
    assert await search(engine, ref) == COMPLETE
    assert await ask(engine, ref, generator, 1) == ModelStepped(answered=True, tokens=18)
    await persist(engine, ref)

    answer = await answer_of(engine, ref)
    assert answer.content == '"lasts two years" [1], not.'
    assert [(c["marker"], c["quote"], c["document_name"]) for c in answer.citations] == [
        (1, "lasts two years", "terms.pdf")
    ]
    assert (answer.input_tokens, answer.output_tokens) == (22, 14)
    told = await events_of(engine, ref)
    # One text may come in one piece or in several.
    assert [type_ for type_, _ in groupby(type_ for type_, _ in told)] == [
        "turn.started", "message.delta", "message.reset", "tool.started", "turn.retrieved", "tool.completed",
        "message.delta", "message.completed",
    ]  # fmt: skip
    once = {type_: data for type_, data in told if type_ != "message.delta"}
    (row,) = await calls_of(engine, ref)
    named = {"call_id": str(row.id), "step": 0, "tool": "search_documents", "name": "search_documents"}
    assert once["tool.started"] == named | {"arguments": {"query": "warranty"}}
    assert once["tool.completed"] == named | {"status": "complete", "error_code": None}
    assert [citation["marker"] for citation in once["turn.retrieved"]["citations"]] == [1, 2]


async def test_the_model_is_given_what_it_said_and_what_its_tools_gave(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    asked = call("search_documents", query="warranty")
    generator = model(["Let me look.", asked], ["Two years [1]."])
    await ask(engine, ref, generator)
    await search(engine, ref)
    await ask(engine, ref, generator, 1)
    first, second = generator.requests
    assert [tool.name for tool in first.tools] == ["search_documents"]
    assert (first.steps, first.passages) == ([], [])
    (step,) = second.steps
    assert (step.text, list(step.calls)) == ("Let me look.", [asked])
    (result,) = step.results
    assert (result.call_id, result.failed, tuple(result.markers)) == ("a", False, (1,))
    assert [passage.content for passage in second.passages] == [WARRANTY]


async def test_a_model_step_that_is_stored_is_not_paid_again(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    generator = model([call("search_documents", query="warranty")], ["Two years [1]."])
    for _ in range(2):
        assert (await ask(engine, ref, generator, number=2)).calls == (PLANNED,)
    assert len(generator.requests) == 1
    await search(engine, ref)
    for number in (1, 2):
        assert (await ask(engine, ref, generator, 1, number=number)).answered
    assert len(generator.requests) == 2
    assert (await turn_of(engine, ref)).output_tokens == 14


async def test_a_search_that_ended_is_not_run_again(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    await ask(engine, ref, model([call("search_documents", query="warranty")]))
    embedder = WordEmbedder()
    for number in (1, 2):
        assert await search(engine, ref, embedder=embedder, number=number) == COMPLETE
    assert embedder.calls == 1
    kinds = [type_ for type_, _ in await events_of(engine, ref)]
    assert (kinds.count("tool.started"), kinds.count("tool.completed")) == (1, 1)


async def test_a_passage_that_is_found_again_keeps_its_number(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY, "Batteries are excluded."])
    both = [call("search_documents", query="warranty"), call("search_documents", "b", query="batteries")]
    await ask(engine, ref, model(both))
    await search(engine, ref, call=0)
    await search(engine, ref, call=1)
    first, second = await calls_of(engine, ref)
    assert (first.markers, sorted(second.markers)) == ([1, 2], [1, 2])
    assert [type_ for type_, _ in await events_of(engine, ref)].count("turn.retrieved") == 1


async def test_a_database_that_is_away_for_a_moment_costs_no_second_embedding(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    await ask(engine, ref, model([call("search_documents", query="warranty")]))

    async def fail_once(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(document_search, "search", search_documents)
        raise OSError("the database is away")

    monkeypatch.setattr(document_search, "search", fail_once)
    embedder = WordEmbedder()
    assert await search(engine, ref, embedder=embedder) == COMPLETE
    assert embedder.calls == 1


@pytest.mark.parametrize("lost_to", ["a later attempt", "the agent's clock"])
async def test_a_search_that_has_lost_its_call_adds_no_passages(engine: AsyncEngine, lost_to: str) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    await ask(engine, ref, model([call("search_documents", query="warranty")]))
    slow = SlowEmbedder()
    zombie = asyncio.create_task(search(engine, ref, embedder=slow))
    await slow.reached.wait()
    if lost_to == "a later attempt":
        failing = WordEmbedder()
        failing.fail = [ProviderError("Away.")]
        with pytest.raises(ProviderError):
            await search(engine, ref, embedder=failing, number=2)
    else:
        settle = SettleCall(call=CallRef(ref=ref, step=0, number=0), code="tool_timeout", message="Too late.")
        await attempt(agent(engine, model([])).settle_call, settle)
    slow.go_on.set()
    with pytest.raises(TurnClosed):
        await zombie
    assert "turn.retrieved" not in [type_ for type_, _ in await events_of(engine, ref)]


async def test_what_is_not_found_is_said(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    await ask(engine, ref, model([call("search_documents", query="warranty")]))
    assert await search(engine, ref) == COMPLETE
    (row,) = await calls_of(engine, ref)
    assert (row.result, row.markers) == ("No passages were found. Try other words.", [])


@pytest.mark.parametrize(
    ("made", "code", "word"),
    [
        (call("delete_everything"), "tool_unknown", "search_documents"),
        (call("search_documents"), "tool_arguments_invalid", "query"),
        (call("search_documents", query=7), "tool_arguments_invalid", "query"),
        (call("search_documents", query="a", limit=3), "tool_arguments_invalid", "limit"),
        (call("search_documents", query="a" * 20_000), "tool_arguments_invalid", "longer"),
        (call("search_documents", query="\0"), "tool_arguments_invalid", "query"),
        (call("search_documents", query=float("nan")), "tool_arguments_invalid", "number"),
        (call("search_documents", query=[float("inf")]), "tool_arguments_invalid", "number"),
        (
            call("search_documents", query=json.loads("[" * 900 + "]" * 900)),
            "tool_arguments_invalid",
            "inside each other",
        ),
    ],
)
async def test_a_call_that_cannot_be_run_is_told_to_the_model(
    engine: AsyncEngine, made: object, code: str, word: str
) -> None:
    ref = await an_agents_turn(engine)
    generator = model([made], ["Sorry."])  # type: ignore[list-item]  # a call
    assert await ask(engine, ref, generator) == ModelStepped(answered=False, calls=(), tokens=18)
    (row,) = await calls_of(engine, ref)
    assert (row.status, row.error_code) == ("failed", code)
    assert word in row.result
    assert (await events_of(engine, ref))[-1][1]["status"] == "failed"
    await ask(engine, ref, generator, 1)
    (result,) = generator.requests[1].steps[0].results
    assert result.failed
    assert word in result.content


async def test_more_calls_than_a_step_may_have_are_refused(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    many = [call("search_documents", str(number), query="warranty") for number in range(CALLS_A_STEP + 2)]
    assert len((await ask(engine, ref, model(many))).calls) == CALLS_A_STEP
    refused = (await calls_of(engine, ref))[CALLS_A_STEP:]
    assert [(row.error_code, row.tool) for row in refused] == [("tool_calls_limit", "search_documents")] * 2


async def test_the_last_step_has_no_tools_and_what_it_asks_for_is_not_run(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    asked = call("search_documents", query="warranty")
    generator = model([asked], ["I found nothing.", asked])
    await ask(engine, ref, generator)
    assert (await ask(engine, ref, generator, 1, last=True)).answered
    assert list(generator.requests[1].tools) == []
    assert len(await calls_of(engine, ref)) == 1
    assert (await turn_of(engine, ref)).draft == "I found nothing."


async def test_a_step_that_says_and_asks_nothing_is_an_error_of_the_provider(engine: AsyncEngine) -> None:
    with pytest.raises(ProviderMalformed):
        await ask(engine, await an_agents_turn(engine), model([" "]))


async def test_a_model_that_takes_no_tools_is_a_clear_error(engine: AsyncEngine) -> None:
    with pytest.raises(ToolsUnsupported) as caught:
        await ask(engine, await an_agents_turn(engine), ScriptedGenerator(["Two years."]))
    assert not caught.value.retryable


async def test_an_attempt_that_failed_midway_is_taken_back_and_made_again(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    generator = model(["Old ", ProviderError("Away.")], ["New."])
    with pytest.raises(ProviderError):
        await ask(engine, ref, generator)
    assert (await ask(engine, ref, generator, number=2)).answered
    await persist(engine, ref)
    assert (await answer_of(engine, ref)).content == "New."


async def test_an_attempt_that_was_given_up_can_neither_write_nor_take_the_step_back(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    wake = asyncio.Event()
    slow = model([wake, call("search_documents", query="old")])
    zombie = asyncio.create_task(ask(engine, ref, slow))
    await slow.started.wait()
    await ask(engine, ref, model([call("search_documents", query="new")]), number=2)
    wake.set()
    with pytest.raises(TurnClosed):
        await zombie
    assert [row.arguments for row in await calls_of(engine, ref)] == [{"query": "new"}]


async def test_an_earlier_attempt_that_wakes_late_does_not_ask_the_model(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    generator = model([ProviderError("Away.")])
    with pytest.raises(ProviderError):
        await ask(engine, ref, generator, number=2)
    with pytest.raises(TurnClosed):
        await ask(engine, ref, generator, number=1)
    assert len(generator.requests) == 1


async def test_a_step_that_was_reset_takes_over_though_its_attempts_count_from_one(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    generator = model([ProviderError("Away.")], [call("search_documents", query="warranty")])
    with pytest.raises(ProviderError):
        await ask(engine, ref, generator, number=3)
    assert (await ask(engine, ref, generator, number=1, began=4)).calls == (PLANNED,)
    embedder = WordEmbedder()
    embedder.fail = [ProviderError("Away.")]
    with pytest.raises(ProviderError):
        await search(engine, ref, embedder=embedder, number=3)
    assert await search(engine, ref, number=1, began=4) == COMPLETE


async def test_an_attempt_takes_over_from_one_that_an_older_release_has_numbered(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine)
    generator = model([ProviderError("Away.")], ["Two years."])
    with pytest.raises(ProviderError):
        await ask(engine, ref, generator)
    async with engine.begin() as connection:
        await connection.execute(update(agent_steps).values(run_attempt=2))
    assert (await ask(engine, ref, generator, number=2)).answered


async def test_a_call_that_is_settled_stays_settled(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    generator = model([call("search_documents", query="warranty")], ["Sorry."])
    await ask(engine, ref, generator)
    settle = SettleCall(call=CallRef(ref=ref, step=0, number=0), code="tool_timeout", message="Too late.")
    for _ in range(2):
        ended = await attempt(agent(engine, generator).settle_call, settle)
        assert ended.status is CallStatus.FAILED
    assert (await search(engine, ref)).status is CallStatus.FAILED
    await ask(engine, ref, generator, 1)
    assert generator.requests[1].steps[0].results[0].content == "The tool failed: Too late."
    assert [type_ for type_, _ in await events_of(engine, ref)].count("tool.completed") == 1


async def test_a_stopped_agent_keeps_what_its_answer_had_and_nothing_of_its_thoughts(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY])
    await ask(engine, ref, model(["Let me look.", call("search_documents", query="warranty")]))
    await persist(engine, ref, TurnOutcome.PARTIAL)
    with pytest.raises(TurnClosed):
        await search(engine, ref)
    answer = await answer_of(engine, ref)
    assert (answer.content, answer.status) == ("", "partial")


async def test_a_tool_that_was_taken_from_the_bot_is_not_run(engine: AsyncEngine) -> None:
    ref = await an_agents_turn(engine, [WARRANTY], tools=[SEARCH, SEARCH | {"name": "look_up"}])
    await ask(engine, ref, model([call("look_up", query="warranty")]))
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE bots SET configuration = configuration #- '{tools,1}'")
    assert (await search(engine, ref)).status is CallStatus.FAILED
    assert "no tool look_up" in (await calls_of(engine, ref))[0].result
