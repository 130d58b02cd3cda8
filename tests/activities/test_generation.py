"""Generation on the real Postgres: pieces, attempts, silence, stops, and writers that lost their turn."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import turn_passages
from adapters.postgres.engine import open_engine
from adapters.postgres.notifications import Notifications, wait_for
from adapters.postgres.tables import turns
from domain.conversation import TurnOutcome
from domain.errors import ProviderError, ProviderMalformed, SafetyBlocked, TurnClosed
from domain.ports import AnswerEvent, AnswerRequest, Finished, TextDelta
from domain.steps import Generated, TurnRef
from tests import servers
from tests.activities.turn_steps import (
    answer_of,
    attempt,
    environment,
    events_of,
    generation,
    load,
    persist,
    retrieve,
    turn_of,
)  # fmt: skip
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import ScriptedGenerator, WordEmbedder


async def a_running_turn(engine: AsyncEngine, **bot_values: Any) -> TurnRef:
    ref = await a_question(engine, *await a_bot(engine, **bot_values))
    await load(engine, ref)
    return ref


async def deltas(engine: AsyncEngine, ref: TurnRef) -> list[str]:
    return [data["text"] for type_, data in await events_of(engine, ref) if type_ == "message.delta"]


async def until(engine: AsyncEngine, url: str, ref: TurnRef, seen: Callable[[list[str]], bool]) -> None:
    """Wait for pieces that are durable."""
    hub = Notifications(url)
    async with hub.subscribe("turn_events", ref.turn_id) as wake, asyncio.timeout(60):
        while not seen(await deltas(engine, ref)):
            await wait_for(wake, 0.2)
            wake.clear()
    await hub.close()


async def test_a_generation_streams_stores_its_draft_and_counts(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["One ", "two ", "three."])
    assert await attempt(generation(engine, generator).generate, ref) == Generated(input_tokens=11, output_tokens=7)
    assert "".join(await deltas(engine, ref)) == "One two three."
    turn = await turn_of(engine, ref)
    assert (turn.draft, turn.model, turn.attempt, turn.status) == ("One two three.", "fake/script", 1, "running")


async def test_the_generator_is_given_what_the_turn_holds(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, model="big", temperature=0.7, configuration={"system_prompt": "Be kind."})
    await a_ready_document(engine, owner, bot, ["The warranty lasts two years."], WordEmbedder())
    ref = await a_question(engine, owner, bot, content="Which warranty?")
    await load(engine, ref)
    await retrieve(engine, ref)
    generator = ScriptedGenerator(["Yes [1]."])
    await attempt(generation(engine, generator).generate, ref)
    (request,) = generator.requests
    assert (request.question, request.model, request.temperature, request.instructions) == (
        "Which warranty?", "fake/big", 0.7, "Be kind.",
    )  # fmt: skip
    assert [passage.content for passage in request.passages] == ["The warranty lasts two years."]


async def test_the_first_piece_is_stored_while_the_provider_is_still_silent(
    engine: AsyncEngine, database_url: str
) -> None:
    ref = await a_running_turn(engine)
    go_on = asyncio.Event()
    step = generation(engine, ScriptedGenerator(["First", go_on, " second"]))
    running = asyncio.create_task(attempt(step.generate, ref))
    await until(engine, database_url, ref, lambda texts: texts == ["First"])
    go_on.set()
    await running
    assert await deltas(engine, ref) == ["First", " second"]


async def test_many_small_pieces_are_stored_in_few_rows(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    await attempt(generation(engine, ScriptedGenerator(["word "] * 500)).generate, ref)
    texts = await deltas(engine, ref)
    assert "".join(texts) == "word " * 500
    assert len(texts) < 20


async def test_markers_that_were_not_given_never_reach_a_reader(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    await attempt(generation(engine, ScriptedGenerator(["So it is [", "1", "], and [2", "]!"])).generate, ref)
    assert "".join(await deltas(engine, ref)) == (await turn_of(engine, ref)).draft == "So it is, and!"


async def test_links_that_no_passage_holds_never_reach_a_reader(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, ["Hours: https://library.example/hours"], WordEmbedder())
    ref = await a_question(engine, owner, bot, content="Which hours?")
    await load(engine, ref)
    await retrieve(engine, ref)
    pieces = [
        "See [them](https://libr",
        "ary.example/hours) [1], ![x](https://ev",
        "il.example/?q=secret",
        ") or <im",
        "g>",
    ]
    await attempt(generation(engine, ScriptedGenerator(pieces)).generate, ref)
    shown = "See [them](https://library.example/hours) [1], [x] ((link removed)) or < img>"
    assert "".join(await deltas(engine, ref)) == (await turn_of(engine, ref)).draft == shown


async def test_a_link_of_a_passage_is_shown_where_the_answer_does_not_cite_that_passage(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, ["The hours are nine to five."], WordEmbedder(), name="told.txt")
    await a_ready_document(engine, owner, bot, ["Hours: https://library.example/hours"], WordEmbedder())
    ref = await a_question(engine, owner, bot, content="Which hours?")
    await load(engine, ref)
    await retrieve(engine, ref)
    async with engine.connect() as connection:
        passages = await turn_passages.read(connection, ref.turn_id)
    (told,) = (passage.marker for passage in passages if passage.document_name == "told.txt")
    said = f"Nine to five [{told}]: https://library.example/hours or https://library.example/hours/all"
    await attempt(generation(engine, ScriptedGenerator([said])).generate, ref)
    await persist(engine, ref)
    answer = await answer_of(engine, ref)
    assert [citation["document_name"] for citation in answer.citations] == ["told.txt"]
    assert answer.content == f"Nine to five [{told}]: https://library.example/hours or (link removed)"
    assert "".join(await deltas(engine, ref)) == answer.content


async def test_the_boundary_of_a_request_never_reaches_a_reader_and_is_another_each_time(engine: AsyncEngine) -> None:
    class Indiscreet(ScriptedGenerator):
        async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
            self.requests.append(request)
            middle = len(request.boundary) // 2
            for piece in (f"It is {request.boundary[:middle]}", request.boundary[middle:].upper(), "?\x1b[8m"):
                yield TextDelta(piece)
            yield Finished(model="fake/script")

    generator = Indiscreet()
    for _ in range(2):
        ref = await a_running_turn(engine)
        await attempt(generation(engine, generator).generate, ref)
        assert "".join(await deltas(engine, ref)) == (await turn_of(engine, ref)).draft == "It is  ?[8m"
    first, second = (request.boundary for request in generator.requests)
    assert first != second
    assert min(len(first), len(second)) == 16


async def test_text_that_cannot_be_stored_is_left_out_and_the_rest_kept(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    await attempt(generation(engine, ScriptedGenerator(["a\0b", "\ud800c 🙂"])).generate, ref)
    assert "".join(await deltas(engine, ref)) == (await turn_of(engine, ref)).draft == "abc 🙂"


async def test_a_second_attempt_says_so_and_starts_again(engine: AsyncEngine, database_url: str) -> None:
    ref = await a_running_turn(engine)
    fail = asyncio.Event()
    generator = ScriptedGenerator(["Old text", fail, ProviderError("Away.")], ["New text"])
    first = asyncio.create_task(attempt(generation(engine, generator).generate, ref))
    await until(engine, database_url, ref, bool)
    fail.set()
    with pytest.raises(ProviderError):
        await first
    await attempt(generation(engine, generator).generate, ref, number=2)
    await persist(engine, ref)
    types = [(type_, data) for type_, data in await events_of(engine, ref) if type_ != "turn.started"]
    reset = types.index(("message.reset", {"attempt": 2}))
    assert "".join(data["text"] for type_, data in types[reset:] if type_ == "message.delta") == "New text"
    assert (await answer_of(engine, ref)).content == "New text"


async def test_a_second_attempt_after_nothing_was_shown_resets_nothing(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator([ProviderError("Away.")], ["Text"])
    with pytest.raises(ProviderError):
        await attempt(generation(engine, generator).generate, ref)
    await attempt(generation(engine, generator).generate, ref, number=2)
    assert [type_ for type_, _ in await events_of(engine, ref)] == ["turn.started", "message.delta"]


async def test_an_attempt_that_was_given_up_cannot_write_any_more(engine: AsyncEngine, database_url: str) -> None:
    ref = await a_running_turn(engine)
    wake = asyncio.Event()
    zombie = asyncio.create_task(
        attempt(generation(engine, ScriptedGenerator(["Zombie", wake, " speaks"])).generate, ref)
    )
    await until(engine, database_url, ref, bool)
    await attempt(generation(engine, ScriptedGenerator(["Alive."])).generate, ref, number=2)
    before = await events_of(engine, ref)
    wake.set()
    with pytest.raises(TurnClosed):
        await zombie
    assert await events_of(engine, ref) == before
    await persist(engine, ref)
    assert (await answer_of(engine, ref)).content == "Alive."


async def test_an_earlier_attempt_that_wakes_late_does_not_take_the_turn_back(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["Half", ProviderError("Away.")])
    with pytest.raises(ProviderError):
        await attempt(generation(engine, generator).generate, ref, number=2)
    with pytest.raises(TurnClosed):
        await attempt(generation(engine, generator).generate, ref, number=1)
    assert len(generator.requests) == 1


async def test_a_step_that_was_reset_takes_over_though_its_attempts_count_from_one(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["Half", ProviderError("Away.")], ["Whole."])
    with pytest.raises(ProviderError):
        await attempt(generation(engine, generator).generate, ref, number=3)
    await attempt(generation(engine, generator).generate, ref, number=1, began=4)
    assert (await turn_of(engine, ref)).draft == "Whole."


async def test_an_attempt_takes_over_from_one_that_an_older_release_has_numbered(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["Half", ProviderError("Away.")], ["Whole."])
    with pytest.raises(ProviderError):
        await attempt(generation(engine, generator).generate, ref)
    async with engine.begin() as connection:
        await connection.execute(update(turns).where(turns.c.id == ref.turn_id).values(run_attempt=2))
    await attempt(generation(engine, generator).generate, ref, number=2)
    assert (await turn_of(engine, ref)).draft == "Whole."


async def test_a_run_that_was_reset_takes_over_though_its_attempts_count_from_one(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["Half", ProviderError("Away.")], ["Whole."])
    with pytest.raises(ProviderError):
        await attempt(generation(engine, generator).generate, ref, number=3)
    await attempt(generation(engine, generator).generate, ref, number=1, run="run-2")
    await persist(engine, ref)
    assert (await answer_of(engine, ref)).content == "Whole."


async def test_a_stop_closes_the_provider_at_once_and_keeps_what_was_shown(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "f" * 2 * size)  # a word that ends as a boundary may begin
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["Half", asyncio.Event()])
    env = environment()
    running = asyncio.create_task(env.run(generation(engine, generator).generate, ref))
    await until(engine, database_url, ref, bool)
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert generator.closed.is_set()
    await persist(engine, ref, TurnOutcome.PARTIAL)
    assert (await answer_of(engine, ref)).content == "Half"


async def test_a_step_heartbeats_while_the_provider_stalls(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    go_on, beats = asyncio.Event(), []
    env = environment()

    def beat(*_: object) -> None:
        beats.append(1)
        if len(beats) == 2:
            go_on.set()

    env.on_heartbeat = beat
    await env.run(generation(engine, ScriptedGenerator([go_on, "Late."])).generate, ref)
    assert len(beats) >= 2


async def test_a_provider_that_falls_silent_is_given_up_and_tried_again(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    generator = ScriptedGenerator(["Half", asyncio.Event()])
    with pytest.raises(ProviderError) as caught:
        await attempt(generation(engine, generator, silence=timedelta(milliseconds=50)).generate, ref)
    assert caught.value.retryable
    assert generator.closed.is_set()


@pytest.mark.parametrize("script", [[], [" ", "\n"]])
async def test_an_empty_answer_is_an_error_of_the_provider(engine: AsyncEngine, script: list[str]) -> None:
    ref = await a_running_turn(engine)
    with pytest.raises(ProviderMalformed):
        await attempt(generation(engine, ScriptedGenerator(script)).generate, ref)
    assert (await turn_of(engine, ref)).draft is None


async def test_an_answer_that_is_blocked_is_not_tried_again(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    with pytest.raises(SafetyBlocked) as caught:
        await attempt(generation(engine, ScriptedGenerator([SafetyBlocked("No.")])).generate, ref)
    assert not caught.value.retryable


async def test_a_generation_outlives_its_database_connections_without_a_second_call(engine: AsyncEngine) -> None:
    ref = await a_running_turn(engine)
    cut = asyncio.Event()
    generator = ScriptedGenerator(["One ", cut, "two ", "three."])
    running = asyncio.create_task(attempt(generation(engine, generator).generate, ref))
    await generator.started.wait()
    async with engine.connect() as connection:
        await connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                 " AND pid <> pg_backend_pid()")
        )  # fmt: skip
    cut.set()
    await running
    await persist(engine, ref)
    assert (await answer_of(engine, ref)).content == "One two three."
    assert len(generator.requests) == 1


async def test_a_restart_of_postgres_in_the_middle_loses_and_doubles_nothing() -> None:
    async with servers.postgres_server(synchronous_commit="on") as server:
        engine = open_engine(server.url(await servers.migrated_template(server)))
        try:
            ref = await a_running_turn(engine)
            up = asyncio.Event()
            generator = ScriptedGenerator(["One ", up, "two ", "three."])
            running = asyncio.create_task(attempt(generation(engine, generator).generate, ref))
            await generator.started.wait()
            await server.kill()
            up.set()
            await server.start()
            await running
            assert "".join(await deltas(engine, ref)) == "One two three."
            assert len(generator.requests) == 1
        finally:
            await engine.dispose()
