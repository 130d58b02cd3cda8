"""Responses by OpenAI's own client: waited for, streamed, resumed, gone on with, stopped."""

import asyncio
from typing import Any

import openai
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from openai import AsyncOpenAI
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import conversations, turn_events, turns
from adapters.wiring import Adapters
from api.main import create_app
from domain.conversation import Role
from domain.errors import ProviderError, ProviderQuotaExhausted, SafetyBlocked
from domain.ids import BotId
from domain.ports import Finished
from tests.api.conftest import Caller
from tests.api.openai.conftest import ANSWER, QUESTION
from tests.api.turn_service import answering, listening

BROKEN = ProviderError("The model provider does not answer.")


async def numbered(stream: Any) -> list[tuple[int, str]]:
    return [(event.sequence_number, event.type) async for event in stream]


async def ended(client: AsyncOpenAI, response_id: str) -> Any:
    """Follow a response to its end."""
    events: list[Any] = [event async for event in await client.responses.retrieve(response_id, stream=True)]
    return events[-1].response


async def count(engine: AsyncEngine, table: Any) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_response_has_the_text_its_citations_and_its_usage_and_is_there_later(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, [ANSWER]) as generator:
        response = await client_of_openai.responses.create(
            model=str(bot), input=QUESTION, instructions="Be brief.", temperature=0.3, max_output_tokens=50,
            metadata={"ticket": "7"},
        )  # fmt: skip
    (request,) = generator.requests
    assert (request.instructions, request.temperature, request.max_tokens) == ("Be brief.", 0.3, 50)
    assert (response.status, response.output_text, response.model) == ("completed", ANSWER, str(bot))
    assert response.id.startswith("resp_")
    assert (response.instructions, response.metadata, response.background) == ("Be brief.", {"ticket": "7"}, False)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (11, 7, 18)
    (item,) = response.output
    assert item.type == "message"
    (part,) = item.content
    assert part.type == "output_text"
    (cited,) = part.annotations
    assert cited.type == "file_citation"
    assert (cited.filename, ANSWER[cited.index : cited.index + 3]) == ("terms.pdf", "[1]")
    assert cited.model_extra is not None
    assert (cited.model_extra["page"], cited.model_extra["quote"]) == (1, "The warranty lasts two years")
    assert await client_of_openai.responses.retrieve(response.id) == response


async def test_a_stream_tells_every_step_and_ends_with_what_is_stored(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, ['It says "The warranty', " lasts two years", '" [1].']):
        stream = await client_of_openai.responses.create(model=str(bot), input=QUESTION, stream=True)
        events: list[Any] = [event async for event in stream]
    kinds = [event.type for event in events]
    text = "response.output_text"
    assert [kind for kind in kinds if kind != f"{text}.delta"] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        f"{text}.annotation.added", f"{text}.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == f"{text}.delta") == ANSWER
    assert events[-1].response.output_text == ANSWER
    assert events[-1].response == await client_of_openai.responses.retrieve(events[-1].response.id)
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {events[-1].response.output[0].id}


async def test_the_clients_own_stream_helper_reads_it(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    seen = asyncio.Event()
    async with (
        answering(adapters, ["Dropped", seen, BROKEN], [ANSWER]),
        client_of_openai.responses.stream(model=str(bot), input=QUESTION) as stream,
    ):
        async for event in stream:
            if event.type == "response.output_text.delta":
                seen.set()
        final = await stream.get_final_response()
    assert final.output_text == ANSWER


async def test_a_stream_goes_on_after_any_number_from_another_process(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    seen = asyncio.Event()
    async with answering(adapters, ["Dropped", seen, BROKEN], ["It says", ' "The warranty lasts two years" [1].']):
        stream = await client_of_openai.responses.create(model=str(bot), input=QUESTION, stream=True)
        whole: list[Any] = []
        async for event in stream:
            whole.append(event)
            if event.type == "response.output_text.delta":
                seen.set()
    response = whole[-1].response.id
    process = create_app(adapters=adapters)
    async with LifespanManager(process), listening(process, {}) as elsewhere:
        other = client_of_openai.with_options(base_url=f"{elsewhere.base_url}/openai/v1")
        for after in (-1, *range(len(whole))):
            rest = [
                event async for event in await other.responses.retrieve(response, stream=True, starting_after=after)
            ]
            assert rest == whole[after + 1 :], after


async def test_a_number_that_no_event_has_had_is_refused_and_not_waited_for(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    retrieve = client_of_openai.responses.retrieve
    queued = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
    begun = 1  # of `response.created` and `response.queued`, which come before a worker has the turn
    with pytest.raises(openai.BadRequestError) as early:
        await retrieve(queued.id, stream=True, starting_after=begun + 1)
    async with answering(adapters, ["Two ", "years."]):
        rest: list[Any] = [event async for event in await retrieve(queued.id, stream=True, starting_after=begun)]
    last = rest[-1].sequence_number
    with pytest.raises(openai.BadRequestError) as late:
        await retrieve(queued.id, stream=True, starting_after=last + 1)
    assert [event async for event in await retrieve(queued.id, stream=True, starting_after=last)] == []
    assert rest[0].sequence_number == begun + 1
    for refused in (early.value, late.value):
        assert (refused.code, refused.param) == ("invalid_cursor", "starting_after")


async def test_a_text_that_is_begun_again_ends_its_item_and_another_one_is_the_answer(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    seen = asyncio.Event()
    async with answering(adapters, ["Dropped", seen, BROKEN], ["Another answer."]):
        items: dict[str, str] = {}
        done: dict[str, str] = {}
        response: Any = None
        async for event in await client_of_openai.responses.create(model=str(bot), input=QUESTION, stream=True):
            if event.type == "response.output_text.delta":
                items[event.item_id] = items.get(event.item_id, "") + event.delta
                seen.set()
            elif event.type == "response.output_item.done" and event.item.type == "message":
                done[event.item.id] = event.item.status
            elif event.type == "response.completed":
                response = event.response
    assert list(items.values()) == ["Dropped", "Another answer."]
    assert list(done.values()) == ["incomplete", "completed"]
    assert (response.output[0].id, response.output_text) == ([*items][-1], "Another answer.")
    assert await client_of_openai.responses.retrieve(response.id) == response


async def test_a_response_in_the_background_is_queued_and_polled(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    response = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
    assert (response.status, response.background, response.output_text) == ("queued", True, "")
    gate = asyncio.Event()
    async with answering(adapters, [gate, ANSWER]) as generator:
        await generator.started.wait()
        assert (await client_of_openai.responses.retrieve(response.id)).status == "in_progress"
        gate.set()
        told = await numbered(await client_of_openai.responses.retrieve(response.id, stream=True))
    assert [kind for _, kind in told[:3]] == ["response.created", "response.queued", "response.in_progress"]
    response = await client_of_openai.responses.retrieve(response.id)
    assert (response.status, response.output_text) == ("completed", ANSWER)


async def test_a_response_is_stopped_and_keeps_what_was_written(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, ["The first half", asyncio.Event()]):
        response = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
        last: list[Any] = []
        shown: list[str] = []

        async def follow() -> None:
            async for event in await client_of_openai.responses.retrieve(response.id, stream=True):
                last[:] = [event]
                if event.type == "response.output_text.delta":
                    shown.append(event.delta)
                    written.set()

        written = asyncio.Event()
        following = asyncio.create_task(follow())
        await written.wait()
        stopped = await client_of_openai.responses.cancel(response.id)
        await following
    # The last letter may be held: a link might begin with it.
    assert (stopped.status, stopped.output_text) == ("cancelled", "".join(shown))
    assert stopped.output_text.startswith("The first")
    assert (last[0].type, last[0].response) == ("response.incomplete", stopped)
    assert await client_of_openai.responses.cancel(response.id) == stopped


async def test_a_response_that_nobody_took_up_is_stopped_and_one_that_has_ended_is_not(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    waiting = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
    assert (await client_of_openai.responses.cancel(waiting.id)).status == "cancelled"
    async with answering(adapters, ["Yes."]):
        whole = await client_of_openai.responses.create(model=str(bot), input=QUESTION)
    with pytest.raises(openai.ConflictError) as refused:
        await client_of_openai.responses.cancel(whole.id)
    assert refused.value.code == "invalid_state"


async def test_a_conversation_goes_on_after_a_response_and_branches_from_an_older_one(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    create = client_of_openai.responses.create
    async with answering(adapters, ["One."], ["Two."], ["Another two."], ["Three."]) as generator:
        first = await create(model=str(bot), input="First?")
        second = await create(input="Second?", previous_response_id=first.id)
        await create(model="Handbook", input="Second in other words?", previous_response_id=first.id)
        assert second.conversation is not None
        third = await create(input="Third?", conversation=second.conversation.id)
    said = [[each.content for each in request.history] for request in generator.requests]
    assert said[:3] == [[], ["First?", "One."], ["First?", "One."]]
    assert said[3] == ["First?", "One.", "Second in other words?", "Another two."]
    assert second.previous_response_id == first.id
    assert third.conversation == second.conversation == first.conversation
    assert await count(engine, conversations) == 1


async def test_a_list_of_messages_brings_its_own_conversation(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, ["There is."], ["Two years."]) as generator:
        first = await client_of_openai.responses.create(model=str(bot), input="Is there a warranty?")
        said: Any = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Is there a warranty?"}]},
            *[item.model_dump() for item in first.output],
            {"role": "user", "content": QUESTION},
        ]
        await client_of_openai.responses.create(model=str(bot), input=said)
    request = generator.requests[-1]
    assert [(each.role, each.content) for each in request.history] == [
        (Role.USER, "Is there a warranty?"), (Role.ASSISTANT, "There is."),
    ]  # fmt: skip
    assert (request.question, request.instructions) == (QUESTION, "Be brief.")


async def test_a_second_question_waits_for_the_first_ones_answer(client_of_openai: AsyncOpenAI, bot: BotId) -> None:
    first = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
    assert first.conversation is not None
    for where in ({"previous_response_id": first.id}, {"conversation": first.conversation.id}):
        with pytest.raises(openai.ConflictError) as refused:
            await client_of_openai.responses.create(input="And?", **where)  # type: ignore[call-overload]  # one of two
        assert refused.value.code == "turn_in_progress"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (SafetyBlocked("The model declined to answer."), "invalid_prompt"),
        (ProviderQuotaExhausted("The day's quota is spent."), "rate_limit_exceeded"),
    ],
)
async def test_a_failed_response_says_why(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, failure: Any, code: str
) -> None:
    async with answering(adapters, [failure]):
        response = await client_of_openai.responses.create(model=str(bot), input=QUESTION)
    assert (response.status, response.output) == ("failed", [])
    assert response.error is not None
    assert (response.error.message, response.error.type) == (failure.message, failure.code)
    assert response.error.code == code
    assert await ended(client_of_openai, response.id) == response


async def test_a_response_whose_tokens_were_spent_is_incomplete(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    async with answering(
        adapters, ["It lasts", Finished("fake/script", input_tokens=11, output_tokens=2, cut_off=True)]
    ):
        response = await client_of_openai.responses.create(model=str(bot), input=QUESTION, max_output_tokens=2)
    assert (response.status, response.output_text, response.completed_at) == ("incomplete", "It lasts", None)
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]  # a message
    for kept in (True, False):  # the stored events, and the end alone once they have expired
        events: list[Any] = [each async for each in await client_of_openai.responses.retrieve(response.id, stream=True)]
        assert (events[-1].type, events[-1].response) == ("response.incomplete", response), kept
        async with engine.begin() as connection:
            await connection.execute(delete(turn_events))
    with pytest.raises(openai.ConflictError):
        await client_of_openai.responses.cancel(response.id)


async def test_the_same_key_is_one_response(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    create, headers = client_of_openai.responses.create, {"Idempotency-Key": "one"}
    async with answering(adapters, ["Yes."]):
        twins = await asyncio.gather(*(create(model=str(bot), input=QUESTION, extra_headers=headers) for _ in range(3)))
    assert {twin.id for twin in twins} == {twins[0].id}
    assert await count(engine, turns) == 1


async def test_a_response_whose_events_have_expired_still_tells_its_end(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    async with answering(adapters, ["A long", " answer."]):
        response = await client_of_openai.responses.create(model=str(bot), input=QUESTION)
    async with engine.begin() as connection:
        await connection.execute(delete(turn_events))
    events: list[Any] = [
        event async for event in await client_of_openai.responses.retrieve(response.id, stream=True, starting_after=40)
    ]
    assert events[0].sequence_number == 41
    assert (events[-1].type, events[-1].response) == ("response.completed", response)


async def test_a_response_is_deleted_with_its_conversation_unless_that_goes_on(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    create = client_of_openai.responses.create
    async with answering(adapters, ["Yes."]):
        said: Any = [{"role": "assistant", "content": "Welcome."}, {"role": "user", "content": QUESTION}]
        first = await create(model=str(bot), input=said)
        second = await create(model=str(bot), input=QUESTION)
        await create(input="And?", previous_response_id=second.id)
    running = await create(model=str(bot), input=QUESTION, background=True)
    await client_of_openai.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.responses.retrieve(first.id)
    for kept in (second, running):
        with pytest.raises(openai.ConflictError):
            await client_of_openai.responses.delete(kept.id)
    assert await count(engine, conversations) == 2


async def test_the_question_of_a_response_is_its_input(client_of_openai: AsyncOpenAI, bot: BotId) -> None:
    response = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
    items: list[Any] = [item async for item in client_of_openai.responses.input_items.list(response.id)]
    assert [(item.role, item.content[0].text) for item in items] == [("user", QUESTION)]
    page = await client_of_openai.responses.input_items.list(response.id, after=items[0].id)
    assert (page.data, page.has_more) == ([], False)


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"store": False}, "store"),
        ({"store": False, "background": True}, "store"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"model": None}, "model"),
        ({"input": []}, "input"),
        ({"input": " "}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": "1"}]}, "input.0.type"),
        ({"previous_response_id": "resp_1", "conversation": "a"}, "previous_response_id"),
        ({"temperature": -1}, "temperature"),
        ({"instructions": "x" * 32_001}, "instructions"),
    ],
)
async def test_what_is_not_offered_is_a_clear_400_and_nothing_is_stored(
    client_of_openai: AsyncOpenAI, bot: BotId, engine: AsyncEngine, extra: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of_openai.responses.create(**({"model": str(bot), "input": QUESTION} | extra))
    assert refused.value.param == param
    assert await count(engine, conversations) == 0


async def test_what_is_not_there_is_not_found(client_of_openai: AsyncOpenAI, bot: BotId) -> None:
    for name in ("resp_nothing", "resp_0199f0c4c0de7a109f3e2b1a0c9d8e77"):
        with pytest.raises(openai.NotFoundError) as missing:
            await client_of_openai.responses.retrieve(name)
        assert missing.value.code == "not_found"
        with pytest.raises(openai.NotFoundError):
            await client_of_openai.responses.create(input=QUESTION, previous_response_id=name)
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.responses.create(input=QUESTION, conversation="conv_nothing")


async def test_what_is_anothers_does_not_go_on_and_is_not_given_to_a_store(
    client_of_openai: AsyncOpenAI, stranger: Caller, bot: BotId, engine: AsyncEngine
) -> None:
    response = await client_of_openai.responses.create(model=str(bot), input=QUESTION, background=True)
    file = await client_of_openai.files.create(file=("a.txt", b"A secret."), purpose="assistants")
    assert response.conversation is not None
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("responses", {"input": "And?", "previous_response_id": response.id}),
        ("responses", {"input": "And?", "conversation": response.conversation.id}),
        ("responses", {"input": "And?", "model": "Handbook"}),
        ("vector_stores", {"name": "Mine", "file_ids": [file.id]}),
    ]
    for path, body in bodies:
        answer = await stranger.http.post(f"/openai/v1/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error"), body
    for numbered in ("0", "1"):  # the same words of another owner are another request
        headers = {"X-Stainless-Retry-Count": numbered}
        body = {"input": QUESTION, "model": str(bot), "background": True}
        assert (await stranger.http.post("/openai/v1/responses", json=body, headers=headers)).status_code == 404
    assert await count(engine, turns) == 1


async def test_another_bots_conversation_does_not_go_on(
    client_of_openai: AsyncOpenAI, owner: Caller, app: FastAPI, adapters: Adapters, bot: BotId
) -> None:
    other = (await owner.http.post("/api/v1/bots", json={"name": "Other"})).json()["id"]
    async with answering(adapters, ["Yes."]):
        first = await client_of_openai.responses.create(model=str(bot), input=QUESTION)
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of_openai.responses.create(model=other, input="And?", previous_response_id=first.id)
    assert refused.value.param == "model"
