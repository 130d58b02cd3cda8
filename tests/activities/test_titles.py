"""Titles on the real Postgres: from the question at once, by the model once, and never over a person's."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from activities import titles
from activities.conversation import Conversation
from activities.titles import Titles
from adapters.postgres import accounts
from adapters.postgres import conversations as conversation_rows
from adapters.postgres.tables import conversations
from domain.conversation import TurnOutcome
from domain.errors import ProviderAuth, ProviderError, TurnClosed
from domain.steps import TurnRef
from tests.activities.turn_steps import NOW, answer_of, answered, attempt, environment, generation, load, persist
from tests.builders import a_bot, a_conversation, a_question
from tests.fakes import ScriptedGenerator

QUESTION = "How long is the warranty?"


async def title_of(engine: AsyncEngine, ref: TurnRef) -> tuple[str | None, str | None]:
    async with engine.connect() as connection:
        query = select(conversations.c.title, conversations.c.title_by).where(conversations.c.id == ref.conversation_id)
        row = (await connection.execute(query)).one()
    return row.title, row.title_by


async def rename(engine: AsyncEngine, ref: TurnRef, title: str | None) -> None:
    async with engine.begin() as connection:
        await conversation_rows.change(connection, ref.owner_id, ref.conversation_id, {"title": title})


async def name(engine: AsyncEngine, ref: TurnRef, generator: ScriptedGenerator, number: int = 1) -> None:
    await attempt(Titles(engine, generator, lambda: NOW).title, ref, number=number)


def namer(*titles: Any) -> ScriptedGenerator:
    return ScriptedGenerator(["Done."], completions=titles or ["Length of the warranty"])


async def test_a_conversation_is_named_by_its_first_question_where_nobody_finds_a_better_name(
    engine: AsyncEngine,
) -> None:
    owner, bot = await a_bot(engine)
    ref = await a_question(engine, owner, bot, content=QUESTION)
    loaded = [await load(engine, ref) for _ in range(2)]
    assert [each.answers_titled for each in loaded] == [False, False]
    assert await title_of(engine, ref) == (QUESTION, "question")
    await persist(engine, ref, TurnOutcome.PARTIAL)
    second = await a_question(engine, owner, bot, ref.conversation_id, "And then?")
    await load(engine, second)
    assert await title_of(engine, second) == (QUESTION, "question")


async def test_a_model_finds_a_better_name_once(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    assert [(await load(engine, ref, completes=True)).answers_titled for _ in range(2)] == [True, True]
    generator = namer('"Length of the warranty."', "Another")
    for number in (1, 2):
        await name(engine, ref, generator, number)
    assert await title_of(engine, ref) == ("Length of the warranty", "model")
    assert len(generator.completed) == 1
    assert QUESTION in generator.completed[0].content
    assert not (await load(engine, ref, completes=True)).answers_titled


async def test_an_agents_conversation_is_named_beside_its_steps(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine, configuration={"agent_type": "react"}), content=QUESTION)
    loaded = await load(engine, ref, completes=True)
    assert (loaded.title, loaded.answers_titled) == (True, False)


class Silent(ScriptedGenerator):
    """A model that never thinks of a name."""

    def __init__(self, pieces: list[Any]) -> None:
        super().__init__(pieces)
        self.asked, self.left = asyncio.Event(), asyncio.Event()

    async def complete(self, request: Any) -> Any:  # noqa: ARG002  (as the port has it)
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def answer_titled(engine: AsyncEngine, ref: TurnRef, generator: ScriptedGenerator, *, number: int = 1) -> None:
    await attempt(generation(engine, generator).generate_titled, ref, number=number)


async def test_one_step_writes_the_answer_and_names_the_conversation_once(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    generator = namer("Length of the warranty", "Another")
    for number in (1, 2):
        await answer_titled(engine, ref, generator, number=number)
    await persist(engine, ref)
    assert await title_of(engine, ref) == ("Length of the warranty", "model")
    assert (await answer_of(engine, ref)).content == "Done."
    assert (len(generator.completed), len(generator.requests)) == (1, 1)


async def test_an_answer_stands_whatever_becomes_of_its_title(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fates = {
        "provider_unavailable": namer(ProviderError("Away."), ProviderError("Away.")),
        "provider_auth": namer(ProviderAuth("Set the key."), "Never asked for"),
        "internal": namer(ValueError("Nobody foresaw this.")),
        "late": Silent(["Done."]),
    }
    for code, generator in fates.items():
        ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
        await load(engine, ref, completes=True)
        grace = timedelta(milliseconds=50) if code == "late" else timedelta(seconds=30)
        monkeypatch.setattr(titles, "TITLE_GRACE", grace)
        with capture_logs() as logs:
            await answer_titled(engine, ref, generator)
        await persist(engine, ref)
        assert await title_of(engine, ref) == (QUESTION, "question")
        assert (await answer_of(engine, ref)).content == "Done."
        assert [log["code"] for log in logs if log["event"] == "title_left_out"] == [code]


async def test_a_title_that_fails_once_is_asked_for_once_more(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    await answer_titled(engine, ref, namer(ProviderError("Away."), "Length of the warranty"))
    assert await title_of(engine, ref) == ("Length of the warranty", "model")


async def test_the_attempt_after_one_that_failed_finds_the_name_that_was_paid_for(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator([ProviderError("Away.")], completions=["Length of the warranty", "Another"])
    for number in (1, 2):
        with pytest.raises(ProviderError):
            await answer_titled(engine, ref, generator, number=number)
    assert await title_of(engine, ref) == ("Length of the warranty", "model")
    assert len(generator.completed) == 1


async def test_a_stop_ends_answer_and_title_at_once(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "TITLE_GRACE", timedelta(minutes=5))
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    generator = Silent(["Done."])
    env = environment()
    running = asyncio.create_task(env.run(generation(engine, generator).generate_titled, ref))
    await generator.asked.wait()
    env.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert generator.left.is_set()


async def test_a_stop_while_the_title_is_waited_for_ends_its_call(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(titles, "TITLE_GRACE", timedelta(minutes=5))
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    generator, waiting = Silent([]), asyncio.Event()
    beside = Titles(engine, generator, lambda: NOW).beside

    async def answered() -> None:
        async with beside(ref):
            await generator.asked.wait()
            asyncio.get_running_loop().call_later(0.1, waiting.set)

    alone = environment()
    running = asyncio.create_task(alone.run(answered))
    await waiting.wait()
    alone.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert generator.left.is_set()


_BREAK_WAITING = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'
"""


async def test_a_connection_that_breaks_over_a_paid_name_costs_no_second_call(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    generator = namer()
    async with engine.begin() as holding, engine.connect() as operator:
        await holding.execute(text("LOCK TABLE conversations IN EXCLUSIVE MODE"))
        naming = asyncio.create_task(name(engine, ref, generator))
        broken = 0
        while not broken:
            broken = len((await operator.execute(text(_BREAK_WAITING))).all())
            await operator.rollback()
    await naming
    assert await title_of(engine, ref) == ("Length of the warranty", "model")
    assert len(generator.completed) == 1


@pytest.mark.parametrize(("model", "asked"), [(None, True), ("local/extractive", False), ("openai/gpt-5.4", True)])
async def test_whether_a_model_is_asked_for_a_name_depends_on_the_bots_own(
    engine: AsyncEngine, model: str | None, asked: bool
) -> None:
    ref = await a_question(engine, *await a_bot(engine, model=model), content=QUESTION)
    conversation = Conversation(engine, lambda: NOW, lambda named: named != "local/extractive")
    assert (await attempt(conversation.load_history, ref)).answers_titled == asked


async def test_a_later_question_names_a_conversation_that_has_no_name_yet(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    stopped = await a_question(engine, owner, bot, content="Lost?")
    await persist(engine, stopped, TurnOutcome.PARTIAL)
    ref = await a_question(engine, owner, bot, stopped.conversation_id, QUESTION)
    assert (await load(engine, ref, completes=True)).answers_titled
    assert await title_of(engine, ref) == (QUESTION, "question")


@pytest.mark.parametrize("title", ["Mine", None])
async def test_a_person_s_title_is_never_replaced_not_even_where_it_was_taken_away(
    engine: AsyncEngine, title: str | None
) -> None:
    owner, bot = await a_bot(engine)
    ref = await a_question(engine, owner, bot, content=QUESTION)
    await rename(engine, ref, title)
    assert not (await load(engine, ref, completes=True)).answers_titled
    generator = namer()
    await name(engine, ref, generator)
    assert (await title_of(engine, ref), generator.completed) == ((title, "person"), [])


async def test_a_title_given_at_the_beginning_is_a_person_s(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    conversation = await a_conversation(engine, owner, bot, title="Mine")
    ref = await a_question(engine, owner, bot, conversation, QUESTION)
    assert not (await load(engine, ref, completes=True)).answers_titled
    await name(engine, ref, namer())
    assert await title_of(engine, ref) == ("Mine", None)


async def test_a_person_who_names_it_while_the_model_thinks_has_the_last_word(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    generator = namer()
    complete = generator.complete

    async def slow(request: Any) -> Any:
        await rename(engine, ref, "Mine")
        return await complete(request)

    monkeypatch.setattr(generator, "complete", slow)
    await name(engine, ref, generator)
    assert await title_of(engine, ref) == ("Mine", "person")


async def test_the_next_model_of_the_bot_names_it_where_the_first_cannot(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, configuration={"fallback_models": ["openai/gpt-5.4"]})
    ref = await a_question(engine, owner, bot, content=QUESTION)
    await load(engine, ref, completes=True)
    generator = namer(ProviderAuth("Set the key."), "Length of the warranty")
    await name(engine, ref, generator)
    assert [request.model for request in generator.completed] == ["fake/script", "openai/gpt-5.4"]
    assert await title_of(engine, ref) == ("Length of the warranty", "model")


@pytest.mark.parametrize("given", [ProviderError("Away."), '""'])
async def test_where_the_model_finds_none_the_question_stays(engine: AsyncEngine, given: Any) -> None:
    ref = await a_question(engine, *await a_bot(engine), content=QUESTION)
    await load(engine, ref, completes=True)
    if isinstance(given, Exception):
        with pytest.raises(ProviderError):
            await name(engine, ref, namer(given))
    else:
        await name(engine, ref, namer(given))
    assert await title_of(engine, ref) == (QUESTION, "question")


async def test_a_turn_that_is_over_names_nothing_and_what_a_title_cost_is_counted(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    ref = await a_question(engine, owner, bot, content=QUESTION)
    await load(engine, ref, completes=True)
    await name(engine, ref, namer())
    async with engine.connect() as connection:
        assert (await accounts.usage(connection, owner)).model_tokens == 8
    async with engine.begin() as connection:
        await connection.execute(update(conversations).values(title=None, title_by=None))
    await answered(engine, ref, "Two years.")
    with pytest.raises(TurnClosed):
        await name(engine, ref, namer())
