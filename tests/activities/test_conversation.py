"""Beginning and ending a turn on the real Postgres; each step runs twice and leaves what one run leaves."""

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.ids import new_id
from adapters.postgres import turn_ends, turn_requests
from adapters.postgres.tables import conversations, messages, turn_passages, turns
from domain.citations import Citation
from domain.conversation import Place, TurnOutcome
from domain.errors import TurnClosed
from domain.ids import TurnId, answer_id
from domain.prompts import NOTHING_FOUND
from domain.retrieval import Passage
from domain.steps import LoadedHistory, Persisted, TurnRef
from tests.activities.turn_steps import (
    NOW,
    answer_of,
    answered,
    attempt,
    decline,
    events_of,
    generation,
    load,
    persist,
    retrieve,
    turn_of,
)  # fmt: skip
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import ScriptedGenerator, WordEmbedder

WARRANTY = "The warranty lasts two years. It begins on the day of purchase."


async def test_a_turn_is_taken_up_once_and_says_so_once(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    first, second = await load(engine, ref), await load(engine, ref)
    assert first == second == LoadedHistory(messages=0, tokens=0)
    assert await events_of(engine, ref) == [("turn.started", {"turn_id": str(ref.turn_id)})]
    assert (await turn_of(engine, ref)).status == "running"


async def test_the_history_is_what_was_said_before_as_far_as_the_bot_wants_it(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, configuration={"history_messages": 3})
    first = await a_question(engine, owner, bot, content="One?")
    await answered(engine, first, "Answer one.")
    second = await a_question(engine, owner, bot, first.conversation_id, content="Two?")
    await answered(engine, second, "Answer two.")
    third = await a_question(engine, owner, bot, first.conversation_id, content="Three?")
    assert (await load(engine, third)).messages == 3
    generator = ScriptedGenerator(["Done."])
    await attempt(generation(engine, generator).generate, third)
    assert [message.content for message in generator.requests[0].history] == ["Answer one.", "Two?", "Answer two."]
    assert generator.requests[0].question == "Three?"


async def test_a_failed_turn_is_no_part_of_the_history(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    failed = await a_question(engine, owner, bot, content="Lost?")
    await load(engine, failed)
    await persist(engine, failed, TurnOutcome.FAILED, "provider_auth", "The key is refused.")
    again = await a_question(engine, owner, bot, failed.conversation_id, content="Again?")
    assert (await load(engine, again)).messages == 0


async def test_the_history_is_that_of_the_question_s_own_branch(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    first = await a_question(engine, owner, bot, content="One?")
    talk = first.conversation_id
    await answered(engine, first, "Answer one.")
    await answered(engine, await a_question(engine, owner, bot, talk, "Two?"), "Answer two.")
    edited = await a_question(engine, owner, bot, talk, "Two, in other words?", after=answer_id(first.turn_id))
    await answered(engine, edited, "Answer two, otherwise.")
    generator = ScriptedGenerator(["Done."])
    for content, after in (("New?", Place.BEGINNING), ("Three?", answer_id(edited.turn_id))):
        ref = await a_question(engine, owner, bot, talk, content, after=after)
        await load(engine, ref)
        await attempt(generation(engine, generator).generate, ref)
        await persist(engine, ref)
    histories = [[message.content for message in request.history] for request in generator.requests]
    assert histories == [[], ["One?", "Answer one.", "Two, in other words?", "Answer two, otherwise."]]


async def test_another_answer_to_a_failed_question_brings_the_question_back_into_the_history(
    engine: AsyncEngine,
) -> None:
    owner, bot = await a_bot(engine)
    failed = await a_question(engine, owner, bot, content="One?")
    await load(engine, failed)
    await persist(engine, failed, TurnOutcome.FAILED, "provider_auth", "The key is refused.")
    again = await _regenerated(engine, failed)
    assert (await load(engine, again)).messages == 0
    await attempt(generation(engine, ScriptedGenerator(["Answer one."])).generate, again)
    await persist(engine, again)
    following = await a_question(engine, owner, bot, failed.conversation_id, content="Two?")
    await load(engine, following)
    generator = ScriptedGenerator(["Done."])
    await attempt(generation(engine, generator).generate, following)
    assert [message.content for message in generator.requests[0].history] == ["One?", "Answer one."]


async def _regenerated(engine: AsyncEngine, ref: TurnRef) -> TurnRef:
    async with engine.begin() as connection:
        return await turn_requests.accept_again(
            connection, ref.owner_id, answer_id(ref.turn_id), turn_id=TurnId(new_id())
        )


async def test_messages_that_name_no_parent_follow_the_one_before(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    first = await a_question(engine, owner, bot, content="One?")
    await answered(engine, first, "Answer one.")
    second = await a_question(engine, owner, bot, first.conversation_id, content="Two?")
    async with engine.begin() as connection:
        await connection.execute(update(messages).values(parent_id=None))
    assert (await load(engine, second)).messages == 2


async def test_a_bot_without_memory_gets_no_history(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine, configuration={"history_messages": 0})
    first = await a_question(engine, owner, bot)
    await answered(engine, first, "Answer.")
    second = await a_question(engine, owner, bot, first.conversation_id)
    assert (await load(engine, second)).messages == 0


@pytest.mark.parametrize(
    ("configuration", "said"),
    [({}, NOTHING_FOUND), ({"unknown_answer": "  Ask the desk, room [1].\n"}, "Ask the desk, room [1].")],
)
async def test_a_turn_that_is_declined_says_so_in_the_bots_words(
    engine: AsyncEngine, configuration: dict[str, str], said: str
) -> None:
    ref = await a_question(engine, *await a_bot(engine, configuration=configuration))
    await load(engine, ref)
    for number in (1, 2):
        await decline(engine, ref, number=number)
    assert [data for type_, data in await events_of(engine, ref) if type_ == "message.delta"] == [{"text": said}]
    await persist(engine, ref)
    answer = await answer_of(engine, ref)
    assert (answer.content, answer.status, answer.citations, answer.model) == (said, "complete", [], None)
    assert (answer.input_tokens, answer.output_tokens) == (0, 0)


async def test_a_turn_that_is_over_is_not_declined(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    await persist(engine, ref, TurnOutcome.PARTIAL)
    before = await events_of(engine, ref)
    with pytest.raises(TurnClosed):
        await decline(engine, ref)
    assert await events_of(engine, ref) == before


async def test_citations_are_checked_beside_the_event_loop(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []

    def verified(answer: str, passages: Sequence[Passage]) -> list[Citation]:
        checked.append(threading.get_ident())
        return []

    monkeypatch.setattr(turn_ends, "verify", verified)
    await answered(engine, await a_question(engine, *await a_bot(engine)), "It is so.")
    assert len(checked) == 1
    assert threading.get_ident() not in checked


async def test_an_answer_is_stored_once_with_the_citations_that_hold(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    document, _ = await a_ready_document(engine, owner, bot, [WARRANTY], WordEmbedder(), name="terms.pdf")
    ref = await a_question(engine, owner, bot, content="How long does the warranty last?")
    await load(engine, ref)
    await retrieve(engine, ref)
    script = ['It says "The warranty lasts two years" [1]. I', "t begins on the day of purchase [1] and more [7]."]
    await attempt(generation(engine, ScriptedGenerator(script)).generate, ref)
    first, second = await persist(engine, ref), await persist(engine, ref)
    assert first == second == Persisted(message_id=answer_id(ref.turn_id), citations=2)
    answer = await answer_of(engine, ref)
    assert (
        answer.content == 'It says "The warranty lasts two years" [1]. It begins on the day of purchase [1] and more.'
    )
    assert [citation["quote"] for citation in answer.citations] == [
        "The warranty lasts two years", "It begins on the day of purchase.",
    ]  # fmt: skip
    assert {citation["document_id"] for citation in answer.citations} == {str(document)}
    assert (answer.status, answer.model, answer.input_tokens, answer.output_tokens) == (
        "complete",
        "fake/script",
        11,
        7,
    )
    events = await events_of(engine, ref)
    assert [type_ for type_, _ in events].count("message.completed") == 1
    told = events[-1][1]["message"]
    assert (told["id"], told["content"], told["usage"]) == (
        str(answer.id), answer.content, {"input_tokens": 11, "output_tokens": 7},
    )  # fmt: skip
    assert "".join(data["text"] for type_, data in events if type_ == "message.delta") == answer.content
    turn = await turn_of(engine, ref)
    assert (turn.status, turn.draft, turn.finished_at) == ("complete", None, NOW)
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(turn_passages))).scalar_one() == 0


async def test_a_stopped_turn_keeps_what_was_shown(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    with pytest.raises(RuntimeError):
        await attempt(generation(engine, ScriptedGenerator(["Half an ans", RuntimeError("boom")])).generate, ref)
    assert await persist(engine, ref, TurnOutcome.PARTIAL) == Persisted(message_id=answer_id(ref.turn_id))
    shown = "".join(data["text"] for type_, data in await events_of(engine, ref) if type_ == "message.delta")
    answer = await answer_of(engine, ref)
    assert (answer.content, answer.status) == (shown, "partial")
    final, data = (await events_of(engine, ref))[-1]
    assert (final, data["message"]["status"]) == ("turn.cancelled", "partial")


async def test_a_turn_that_is_stopped_before_it_began_ends_with_an_empty_answer(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await persist(engine, ref, TurnOutcome.PARTIAL)
    assert (await answer_of(engine, ref)).content == ""
    assert [type_ for type_, _ in await events_of(engine, ref)] == ["turn.cancelled"]
    with pytest.raises(TurnClosed):
        await load(engine, ref)


async def test_a_failed_turn_records_why(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    await persist(engine, ref, TurnOutcome.FAILED, "safety_blocked", "The model declined. Ask in other words.")
    error = {"code": "safety_blocked", "message": "The model declined. Ask in other words."}
    assert (await events_of(engine, ref))[-1] == ("turn.failed", {"error": error})
    assert (await answer_of(engine, ref)).status == "failed"
    turn = await turn_of(engine, ref)
    assert (turn.status, turn.error_code) == ("failed", "safety_blocked")


async def test_the_first_end_of_a_turn_is_its_end(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await answered(engine, ref, "Answer.")
    before = await events_of(engine, ref)
    assert (await persist(engine, ref, TurnOutcome.FAILED, "late", "Too late.")).message_id == answer_id(ref.turn_id)
    assert await events_of(engine, ref) == before
    assert (await answer_of(engine, ref)).content == "Answer."


async def test_a_turn_of_a_deleted_conversation_ends_without_a_trace(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    async with engine.begin() as connection:
        await connection.execute(delete(conversations).where(conversations.c.id == ref.conversation_id))
    with pytest.raises(TurnClosed):
        await retrieve(engine, ref)
    with pytest.raises(TurnClosed):
        await attempt(generation(engine).generate, ref)
    assert await persist(engine, ref, TurnOutcome.FAILED, "turn_closed", "Gone.") == Persisted()
    async with engine.connect() as connection:
        for table in (turns, messages):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0


async def test_a_turn_that_a_crash_left_after_its_draft_is_stored_without_a_second_call(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    generator = ScriptedGenerator(["Paid for once."])
    for number in (1, 2):
        await attempt(generation(engine, generator).generate, ref, number=number)
    await persist(engine, ref)
    assert len(generator.requests) == 1
    assert (await answer_of(engine, ref)).content == "Paid for once."


@pytest.mark.parametrize("outcome", [TurnOutcome.PARTIAL, TurnOutcome.FAILED])
async def test_an_answer_that_was_written_to_its_end_is_complete_whatever_came_after(
    engine: AsyncEngine, outcome: TurnOutcome
) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    await load(engine, ref)
    await attempt(generation(engine, ScriptedGenerator(["Whole."])).generate, ref)
    await persist(engine, ref, outcome, "late", "Too late.")
    answer = await answer_of(engine, ref)
    assert (answer.content, answer.status) == ("Whole.", "complete")
    assert (await events_of(engine, ref))[-1][0] == "message.completed"


async def test_another_owner_does_not_take_a_turn_up(engine: AsyncEngine) -> None:
    ref = await a_question(engine, *await a_bot(engine))
    stranger, _ = await a_bot(engine)
    with pytest.raises(TurnClosed):
        await load(engine, ref.model_copy(update={"owner_id": stranger}))
    async with engine.begin() as connection:
        await connection.execute(update(turns).values(status="running"))
    with pytest.raises(TurnClosed):
        await retrieve(engine, ref.model_copy(update={"owner_id": stranger}))
