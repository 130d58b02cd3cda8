"""Chat completions by OpenAI's own client, answered by real workflows."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import conversations, messages, turn_events, turns
from adapters.postgres.turn_events import Event
from adapters.wiring import Adapters
from api import streaming
from api.openai.chunks import Chunks
from domain.conversation import EventType, Role
from domain.errors import ProviderError, ProviderQuotaExhausted, SafetyBlocked
from domain.ids import BotId
from domain.ports import Finished
from tests.api.conftest import Caller
from tests.api.openai.conftest import ANSWER, QUESTION
from tests.api.turn_service import answering

BROKEN = ProviderError("The model provider does not answer.")
ASKED: Any = [{"role": "user", "content": QUESTION}]


async def stored(engine: AsyncEngine) -> list[tuple[str, str, str]]:
    query = select(messages.c.role, messages.c.content, messages.c.status).order_by(messages.c.position)
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(query)]


async def resets(engine: AsyncEngine) -> int:
    query = select(func.count()).select_from(turn_events).where(turn_events.c.type == "message.reset")
    async with engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


async def read(stream: Any, seen: asyncio.Event) -> str:
    """Read a stream to its end; say when its first words have come."""
    text = ""
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if text:
            seen.set()
    return text


async def test_a_completion_has_the_answer_its_usage_and_its_citations(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    async with answering(adapters, [ANSWER]):
        completion = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED)
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason, choice.message.role) == (ANSWER, "stop", "assistant")
    assert completion.id.startswith("chatcmpl-")
    assert (completion.object, completion.model, completion.system_fingerprint) == (
        "chat.completion", str(bot), "fake/script",
    )  # fmt: skip
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (
        11, 7, 18,
    )  # fmt: skip
    assert choice.message.annotations is not None
    (annotation,) = choice.message.annotations
    cited = annotation.url_citation
    assert (annotation.type, cited.title) == ("url_citation", "terms.pdf")
    assert ANSWER[cited.start_index : cited.end_index] == "[1]"
    assert cited.model_extra is not None
    assert (cited.model_extra["page"], cited.model_extra["quote"]) == (1, "The warranty lasts two years")
    assert cited.url.endswith(f"/api/v1/documents/{cited.model_extra['file_id']}/content#page=1")
    assert await stored(engine) == [("user", QUESTION, "complete"), ("assistant", ANSWER, "complete")]


async def test_a_stream_ends_with_its_reason_its_citations_and_its_usage(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, ['It says "The warranty', " lasts two years", '" [1].']):
        stream = await client_of_openai.chat.completions.create(
            model=str(bot), messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-2:] == [None, "stop"]
    assert deltas[-1].model_extra is not None
    (annotation,) = deltas[-1].model_extra["annotations"]
    assert annotation["url_citation"]["quote"] == "The warranty lasts two years"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 18
    assert len({chunk.id for chunk in chunks}) == 1


async def test_an_answer_whose_tokens_were_spent_says_so(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    create = client_of_openai.chat.completions.create
    async with answering(
        adapters, ["It lasts", Finished("fake/script", input_tokens=11, output_tokens=2, cut_off=True)]
    ):
        whole = await create(model=str(bot), messages=ASKED, max_tokens=2)
        chunks = [each async for each in await create(model=str(bot), messages=ASKED, max_tokens=2, stream=True)]
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("It lasts", "length")
    assert chunks[-1].choices[0].finish_reason == "length"
    assert {status for _, _, status in await stored(engine)} == {"complete"}


async def test_a_stream_without_the_option_has_no_usage_and_ends_with_done(
    owner: Caller, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, ["Yes."]):
        body = {"model": str(bot), "messages": ASKED, "stream": True}
        response = await owner.http.post("/openai/v1/chat/completions", json=body)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert lines[-1] == "[DONE]"
    assert all("usage" not in json.loads(line) for line in lines[:-1])


async def test_what_was_said_before_is_the_history_of_the_turn(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    said: Any = [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "assistant", "content": "Welcome."},
        {"role": "user", "content": [{"type": "text", "text": "Is there"}, {"type": "text", "text": "a warranty?"}]},
        {"role": "assistant", "content": "There is."},
        {"role": "developer", "content": "Name the page."},
        {"role": "user", "content": QUESTION},
    ]
    async with answering(adapters, ["Two years."]) as generator:
        await client_of_openai.chat.completions.create(model="Handbook", messages=said, temperature=0.7, max_tokens=99)
    (request,) = generator.requests
    assert [(each.role, each.content) for each in request.history] == [
        (Role.ASSISTANT, "Welcome."), (Role.USER, "Is there\na warranty?"), (Role.ASSISTANT, "There is."),
    ]  # fmt: skip
    assert request.instructions == "Answer in one sentence.\n\nName the page."
    assert (request.question, request.temperature, request.max_tokens) == (QUESTION, 0.7, 99)
    assert [content for _, content, _ in await stored(engine)] == [
        "Welcome.", "Is there\na warranty?", "There is.", QUESTION, "Two years.",
    ]  # fmt: skip


async def test_the_bots_own_instructions_and_temperature_hold_where_none_are_sent(
    client_of_openai: AsyncOpenAI, owner: Caller, adapters: Adapters, bot: BotId
) -> None:
    change = {"temperature": 0.4, "configuration": {"system_prompt": "Be kind."}}
    await owner.http.patch(f"/api/v1/bots/{bot}", json=change)
    async with answering(adapters, ["Yes."]) as generator:
        await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED)
        await client_of_openai.chat.completions.create(
            model=str(bot), messages=[{"role": "system", "content": "Be brief."}, *ASKED]
        )
    assert [each.instructions for each in generator.requests] == ["Be kind.", "Be kind.\n\nBe brief."]
    assert [each.temperature for each in generator.requests] == [0.4, 0.4]


async def test_the_same_key_is_one_turn_however_often_it_is_sent(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    create = client_of_openai.chat.completions.create
    headers = {"Idempotency-Key": "one"}
    async with answering(adapters, ["First."], ["Second."]) as generator:
        twins = await asyncio.gather(*(create(model=str(bot), messages=ASKED, extra_headers=headers) for _ in range(3)))
        with pytest.raises(openai.ConflictError) as reused:
            await create(model=str(bot), messages=[{"role": "user", "content": "Else?"}], extra_headers=headers)
    assert {each.id for each in twins} == {twins[0].id}
    assert {each.choices[0].message.content for each in twins} == {"First."}
    assert len(generator.requests) == 1
    assert reused.value.code == "idempotency_key_reused"
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(turns))).scalar_one() == 1


async def test_a_stream_of_the_same_key_is_told_again_from_its_beginning(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    async def told() -> list[Any]:
        stream = await client_of_openai.chat.completions.create(
            model=str(bot), messages=ASKED, stream=True, extra_headers={"Idempotency-Key": "one"}
        )
        return [chunk async for chunk in stream]

    async with answering(adapters, ["First", " answer."], ["Second."]):
        assert await told() == await told()
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(turns))).scalar_one() == 1


async def test_the_clients_own_stream_helper_ends_with_the_answer_and_its_citations(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with (
        answering(adapters, ['It says "The warranty', ' lasts two years" [1].']),
        client_of_openai.chat.completions.stream(model=str(bot), messages=ASKED) as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert "content.delta" in kinds
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == (ANSWER, "stop")
    assert final.choices[0].message.annotations


async def test_a_client_that_leaves_stops_nothing(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine, owner: Caller
) -> None:
    gone = asyncio.Event()
    async with answering(adapters, ["The first half", gone, " and the second."]):
        stream = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED, stream=True)
        first = await anext(aiter(stream))
        await stream.close()
        gone.set()
        turn = first.id.removeprefix("chatcmpl-")
        # The stream of the turn itself ends when the answer is stored.
        await owner.http.get(f"/api/v1/turns/{turn}/events")
        assert (await owner.http.get(f"/api/v1/turns/{turn}")).json()["status"] == "complete"
    assert (await stored(engine))[-1] == ("assistant", "The first half and the second.", "complete")


async def test_a_silent_stream_is_kept_open_by_comments_that_the_client_passes_over(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_HEARTBEAT_SECONDS", 0.05)
    gate = asyncio.Event()

    async def watch(turn: str) -> None:
        """Let the answer go on once another reader, who came later, has had two comments."""
        comments = 0
        async with client_of_openai.responses.with_streaming_response.retrieve(turn, stream=True) as raw:
            async for line in raw.iter_lines():
                comments += line.startswith(": still here")
                if comments == 2:
                    gate.set()

    async with answering(adapters, ["Two ", gate, "years."]):
        stream = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED, stream=True)
        chunks = aiter(stream)
        first = await anext(chunks)
        watching = asyncio.create_task(watch(first.id.replace("chatcmpl-", "resp_")))
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
        await watching
    assert text == "Two years."


async def test_a_failed_answer_is_an_error_that_the_client_does_not_pay_for_again(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    blocked = SafetyBlocked("The model declined to answer. Ask in other words.")
    async with answering(adapters, [blocked]) as generator:
        with pytest.raises(openai.APIStatusError) as failed:
            await client_of_openai.with_options(max_retries=2).chat.completions.create(model=str(bot), messages=ASKED)
        stream = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED, stream=True)
        with pytest.raises(openai.APIError) as broken:
            async for _ in stream:
                pass
    assert failed.value.code == broken.value.code == "safety_blocked"
    assert broken.value.message == blocked.message
    assert len(generator.requests) == 2


async def test_a_spent_quota_says_when_to_come_back_and_is_not_asked_again_by_itself(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    async with answering(adapters, [ProviderQuotaExhausted("The day's quota is spent.")]):
        with pytest.raises(openai.RateLimitError) as failed:
            await client_of_openai.with_options(max_retries=2).chat.completions.create(model=str(bot), messages=ASKED)
    assert (failed.value.code, failed.value.type) == ("quota_exhausted", "insufficient_quota")
    assert [role for role, _, _ in await stored(engine)] == ["user", "assistant"]
    assert int(failed.value.response.headers["Retry-After"]) > 0


async def test_an_answer_that_is_begun_again_goes_on_where_it_says_the_same(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine
) -> None:
    seen = asyncio.Event()
    async with answering(adapters, ["The same beginning", seen, BROKEN], ["The same", " beginning and its end."]):
        stream = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED, stream=True)
        text = await read(stream, seen)
    assert text == "The same beginning and its end." == (await stored(engine))[-1][1]
    assert await resets(engine) == 1


async def test_an_answer_that_is_begun_again_in_other_words_ends_the_stream_and_is_stored(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, engine: AsyncEngine, owner: Caller
) -> None:
    seen = asyncio.Event()
    async with answering(adapters, ["One beginning", seen, BROKEN], ["Another one."]):
        stream = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED, stream=True)
        with pytest.raises(openai.APIError) as restarted:
            await read(stream, seen)
        turn = restarted.value.message.rpartition("resp_")[2].rstrip(".")
        await owner.http.get(f"/api/v1/turns/{turn}/events")
    assert restarted.value.code == "answer_restarted"
    assert (await stored(engine))[-1] == ("assistant", "Another one.", "complete")


async def test_a_stream_whose_conversation_is_deleted_does_not_end_as_if_it_were_whole(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId, owner: Caller
) -> None:
    async with answering(adapters, ["The first half", asyncio.Event()]):
        chats = await client_of_openai.chat.completions.create(model=str(bot), messages=ASKED, stream=True)
        turn = (await anext(aiter(chats))).id.removeprefix("chatcmpl-")
        responses: Any = await client_of_openai.responses.retrieve(f"resp_{turn}", stream=True)
        created = await anext(aiter(responses))
        conversation = (await owner.http.get(f"/api/v1/turns/{turn}")).json()["conversation_id"]
        assert (await owner.http.delete(f"/api/v1/conversations/{conversation}")).status_code == 204
        with pytest.raises(openai.APIError) as gone:
            await read(chats, asyncio.Event())
        events: list[Any] = [created, *[event async for event in responses]]
    assert gone.value.code == "answer_deleted"
    assert (events[-1].type, events[-1].code) == ("error", "answer_deleted")
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_stream_that_lost_pieces_does_not_end_as_if_it_were_whole() -> None:
    chunks = Chunks({"id": "chatcmpl-1"}, site="", include_usage=False)
    chunks.feed(Event(2, EventType.DELTA, {"text": "Not what"}))
    answer = {
        "id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59", "conversation_id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59",
        "turn_id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59", "role": "assistant", "content": "is stored",
        "status": "complete", "created_at": "2026-11-21T12:00:00Z",
    }  # fmt: skip
    (told,) = chunks.feed(Event(3, EventType.COMPLETED, {"message": answer}))
    assert told["error"]["code"] == "answer_restarted"
    assert not chunks.ended_well


def test_what_an_agent_thinks_aloud_is_held_until_its_answer_is_whole() -> None:
    chunks = Chunks({"id": "chatcmpl-1"}, site="", include_usage=False, held=True)
    answer = {
        "id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59", "conversation_id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59",
        "turn_id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59", "role": "assistant", "content": "Two years.",
        "status": "complete", "created_at": "2026-11-21T12:00:00Z",
    }  # fmt: skip
    told = [
        chunk
        for event in (
            Event(1, EventType.STARTED, {}),
            Event(2, EventType.DELTA, {"text": "I will look it up."}),
            Event(3, EventType.TOOL_STARTED, {"name": "search_documents"}),
            Event(4, EventType.RESET, {"attempt": 1}),
            Event(5, EventType.DELTA, {"text": "Two years."}),
            Event(6, EventType.COMPLETED, {"message": answer}),
        )
        for chunk in chunks.feed(event)
    ]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in told] == ["", "Two years.", None]
    assert chunks.ended_well


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["\n"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "Hello."}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 16_001}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x" * 32_001}, *ASKED]}, "messages"),
        ({"messages": [{"role": "tool", "content": "1", "tool_call_id": "a"}]}, "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "messages.0.content",
        ),
    ],
)
async def test_what_is_not_offered_is_a_clear_400_and_nothing_is_stored(
    client_of_openai: AsyncOpenAI, bot: BotId, engine: AsyncEngine, extra: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of_openai.chat.completions.create(**({"model": str(bot), "messages": ASKED} | extra))
    assert refused.value.param == param
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(conversations))).scalar_one() == 0


async def test_what_changes_nothing_is_passed_over(
    client_of_openai: AsyncOpenAI, adapters: Adapters, bot: BotId
) -> None:
    async with answering(adapters, ["Yes."]):
        completion = await client_of_openai.chat.completions.create(
            model=str(bot), messages=ASKED, n=1, logprobs=False, seed=7, top_p=0.9, presence_penalty=0.5, user="u",
            store=True, response_format={"type": "text"}, tools=[], extra_body={"unheard_of": 1},
        )  # fmt: skip
    assert completion.choices[0].message.content == "Yes."


async def test_an_unknown_model_stores_nothing(client_of_openai: AsyncOpenAI, bot: BotId, engine: AsyncEngine) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client_of_openai.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert missing.value.code == "model_not_found"
    assert await stored(engine) == []
