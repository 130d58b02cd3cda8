"""Turns over HTTP, answered by real workflows on a real Temporal server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType as HistoryEvent
from temporalio.client import Client, WorkflowHandle

from adapters.postgres.tables import messages, turn_events, turns
from adapters.postgres.turns import begin
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import open_run
from adapters.wiring import Adapters
from api import turn_stop
from api.routes import messages as routes
from domain.errors import SafetyBlocked
from domain.ids import chunk_id
from domain.runs import turn_run
from tests.activities.turn_steps import answered, persist
from tests.api.conftest import Caller
from tests.api.turn_service import all_events, answering, events, listening
from tests.builders import a_bot, a_conversation, a_question, a_ready_document
from tests.fakes import WordEmbedder
from tests.servers import temporal_server
from workflows.turn import AnswerTurn

WARRANTY = "The warranty lasts two years. Batteries are excluded."
SECRET = "a-word-that-no-history-may-hold"


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def url(owner: Caller, engine: AsyncEngine) -> str:
    """The messages of a conversation with a bot that has one document."""
    _, bot = await a_bot(engine, owner.id)
    await a_ready_document(engine, owner.id, bot, [WARRANTY], WordEmbedder(), name="terms.pdf")
    return f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot)}/messages"


async def test_a_message_waits_for_its_answer(owner: Caller, adapters: Adapters, url: str) -> None:
    async with answering(adapters, ['It says "The warranty lasts two years" [1].']):
        response = await owner.http.post(url, json={"content": "How long does the warranty last?"})
    answer = response.json()
    assert response.status_code == 201, answer
    assert (answer["role"], answer["status"], answer["model"]) == ("assistant", "complete", "fake/script")
    assert answer["content"] == 'It says "The warranty lasts two years" [1].'
    (citation,) = answer["citations"]
    assert (citation["marker"], citation["document_name"], citation["page"], citation["quote"]) == (
        1, "terms.pdf", 1, "The warranty lasts two years",
    )  # fmt: skip
    turn = (await owner.http.get(response.headers["Location"])).json()
    assert (turn["id"], turn["status"], turn["answer"], turn["error"]) == (
        answer["turn_id"], "complete", answer, None,
    )  # fmt: skip


async def test_a_quotation_across_two_chunks_is_found_in_the_first_and_what_follows_it(
    owner: Caller, adapters: Adapters, engine: AsyncEngine
) -> None:
    _, bot = await a_bot(engine, owner.id)
    _, ingestion = await a_ready_document(
        engine, owner.id, bot, ["The warranty of the lamp", "lasts two years. Keep the receipt."], WordEmbedder()
    )
    url = f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot)}/messages"
    async with answering(adapters, ['It says "warranty of the lamp lasts two years" [1].']):
        response = await owner.http.post(url, json={"content": "How long does the warranty of the lamp last?"})
    (citation,) = response.json()["citations"]
    assert citation["chunk_id"] == str(chunk_id(ingestion, 0))
    chunk = (await owner.http.get(f"/api/v1/chunks/{citation['chunk_id']}")).json()
    start, end = (citation[at] - chunk["char_start"] for at in ("char_start", "char_end"))
    assert start < len(chunk["content"]) < end
    assert (chunk["content"] + chunk["after"])[start:end] == citation["quote"]


@pytest.mark.parametrize("how", [{"json": {"stream": True}}, {"headers": {"Accept": "Text/Event-Stream"}}])
async def test_a_message_streams_its_answer(
    owner: Caller, adapters: Adapters, url: str, how: dict[str, dict[str, Any]]
) -> None:
    body = {"content": "How long?"} | how.get("json", {})
    async with answering(adapters, ["Two ", "years [1]."]):
        response = await owner.http.post(url, json=body, headers=how.get("headers", {}))
        seen = await all_events(response)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert [sequence for sequence, _, _ in seen] == list(range(1, len(seen) + 1))
    assert [type_ for _, type_, _ in seen if type_ != "message.delta"] == [
        "turn.started", "turn.retrieved", "message.completed",
    ]  # fmt: skip
    final = seen[-1][2]["message"]
    assert "".join(data["text"] for _, type_, data in seen if type_ == "message.delta") == final["content"]
    assert (await owner.http.get(url)).json()["data"][0] == final
    assert seen[1][2]["citations"][0]["quote"] == WARRANTY


async def test_a_question_that_nothing_answers_is_answered_in_the_bots_own_words_without_a_model(
    owner: Caller, adapters: Adapters, engine: AsyncEngine
) -> None:
    said = "Not in our handbook. Ask the desk."
    _, bot = await a_bot(engine, owner.id, configuration={"unknown_answer": said, "retrieval": {"mode": "keyword"}})
    await a_ready_document(engine, owner.id, bot, [WARRANTY], WordEmbedder())
    url = f"/api/v1/conversations/{await a_conversation(engine, owner.id, bot)}/messages"
    async with answering(adapters, ["Two years."]) as generator:
        response = await owner.http.post(url, json={"content": "How high is Mount Everest?", "stream": True})
        seen = await all_events(response)
        known = (await owner.http.post(url, json={"content": "Are batteries excluded?"})).json()
    assert [type_ for _, type_, _ in seen] == ["turn.started", "turn.retrieved", "message.delta", "message.completed"]
    retrieved, delta, final = (data for _, _, data in seen[1:])
    assert retrieved["unknown"]
    assert (delta["text"], final["message"]["content"]) == (said, said)
    message = (await owner.http.get(url, params={"order": "asc"})).json()["data"][1]
    assert message == final["message"]
    assert (message["status"], message["citations"], message["model"]) == ("complete", [], None)
    assert message["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert (known["content"], len(generator.requests)) == ("Two years.", 1)


async def test_a_message_may_be_left_to_itself(owner: Caller, adapters: Adapters, url: str) -> None:
    response = await owner.http.post(url, json={"content": "How long?"}, headers={"Prefer": "Respond-Async"})
    turn = response.json()
    assert (response.status_code, turn["status"], turn["answer"]) == (202, "pending", None)
    assert response.headers["Location"] == f"/api/v1/turns/{turn['id']}"
    async with answering(adapters, ["Two years."]):
        seen = await all_events(await owner.http.get(f"/api/v1/turns/{turn['id']}/events"))
    assert seen[-1][1] == "message.completed"


async def test_an_answer_that_takes_too_long_to_wait_for_is_left_as_a_turn(
    owner: Caller, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_WAIT", timedelta(milliseconds=50))
    response = await owner.http.post(url, json={"content": "How long?"})
    assert (response.status_code, response.json()["status"]) == (202, "pending")


async def test_a_failed_answer_is_an_answer_that_says_why(owner: Caller, adapters: Adapters, url: str) -> None:
    async with answering(adapters, [SafetyBlocked("The model declined to answer. Ask in other words.")], ["Better."]):
        response = await owner.http.post(url, json={"content": "How long?"})
        failed = response.json()
        seen = await all_events(await owner.http.get(f"/api/v1/turns/{failed['turn_id']}/events"))
        again = await owner.http.post(url, json={"content": "And now?"})
    error = {"code": "safety_blocked", "message": "The model declined to answer. Ask in other words."}
    assert (response.status_code, failed["status"], failed["content"], failed["error"]) == (201, "failed", "", error)
    assert seen[-1][1:] == ("turn.failed", {"error": error})
    assert (again.status_code, again.json()["content"]) == (201, "Better.")


async def test_a_second_message_is_refused_while_the_first_is_answered(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, url: str
) -> None:
    go_on = asyncio.Event()
    async with answering(adapters, [go_on, "Two years."]) as generator:
        first = asyncio.create_task(owner.http.post(url, json={"content": "How long?"}))
        await generator.started.wait()
        refused = await owner.http.post(url, json={"content": "Hello?"})
        go_on.set()
        answer = (await first).json()
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (409, "turn_in_progress")
    assert error["details"] == {"turn_id": answer["turn_id"]}
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(messages))).scalar_one() == 2


async def test_of_many_messages_at_once_one_is_answered(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, url: str
) -> None:
    async with answering(adapters, ["Two years."]):
        responses = await asyncio.gather(*(owner.http.post(url, json={"content": f"Number {n}?"}) for n in range(6)))
    assert {response.status_code for response in responses} <= {201, 409}
    accepted = sum(response.status_code == 201 for response in responses)
    assert accepted >= 1
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(turns))).scalar_one() == accepted


async def test_the_same_key_is_one_turn_however_often_and_however_it_is_asked_for(
    owner: Caller, adapters: Adapters, url: str
) -> None:
    body, key = {"content": "How long?"}, {"Idempotency-Key": "one"}
    async with answering(adapters, ["Two years."]) as generator:
        first, twin = await asyncio.gather(*(owner.http.post(url, json=body, headers=key) for _ in range(2)))
        late = await owner.http.post(url, json=body, headers=key)
        streamed = await owner.http.post(url, json=body, headers=key | {"Accept": "text/event-stream"})
        other = await owner.http.post(url, json={"content": "Else?"}, headers=key)
    assert first.json() == twin.json() == late.json()
    assert late.headers["Idempotent-Replayed"] == streamed.headers["Idempotent-Replayed"] == "true"
    assert sorted(response.headers.get("Idempotent-Replayed", "") for response in (first, twin)) == ["", "true"]
    assert (await all_events(streamed))[-1][2]["message"] == first.json()
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(generator.requests) == 1


async def test_a_stop_keeps_what_was_shown(owner: Caller, app: FastAPI, adapters: Adapters, url: str) -> None:
    async with (
        answering(adapters, ["Two years", asyncio.Event()]) as generator,
        listening(app, dict(owner.http.headers)) as http,
        http.stream("POST", url, json={"content": "How long?", "stream": True}) as response,
    ):
        shown, stopped, turn = "", None, ""
        async for _, type_, data in events(response):
            if type_ == "message.delta":
                shown += data["text"]
                turn = response.headers["Location"]
                stopped = (await http.post(f"{turn}/cancel")).json()
        again = await http.post(f"{turn}/cancel")
        async with asyncio.timeout(60):
            await generator.closed.wait()
    assert stopped is not None
    assert (type_, data["message"]) == ("turn.cancelled", stopped["answer"])
    assert (stopped["status"], stopped["answer"]["status"], stopped["answer"]["content"]) == (
        "partial", "partial", shown,
    )  # fmt: skip
    assert (again.status_code, again.json()["error"]["code"]) == (409, "invalid_state")


async def test_a_stop_of_a_turn_that_nobody_took_up_ends_it(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    response = await owner.http.post(f"/api/v1/turns/{ref.turn_id}/cancel", headers={"Idempotency-Key": "k"})
    again = await owner.http.post(f"/api/v1/turns/{ref.turn_id}/cancel", headers={"Idempotency-Key": "k"})
    assert (response.status_code, response.json()["status"]) == (200, "partial")
    assert again.json() == response.json()
    assert [e[1] for e in await all_events(await owner.http.get(f"/api/v1/turns/{ref.turn_id}/events"))] == [
        "turn.cancelled"
    ]


async def test_a_stop_of_a_turn_whose_run_was_terminated_ends_it(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_stop, "WAIT", timedelta(seconds=0.1))
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    id_ = turn_run(ref.conversation_id)
    run = await adapters.temporal.start_workflow(AnswerTurn.run, ref, id=id_, task_queue="nobody")
    async with engine.begin() as connection:
        await begin(connection, ref, run_id=run.first_execution_run_id or "")
    left = await owner.http.post(f"/api/v1/turns/{ref.turn_id}/cancel")
    await run.terminate()
    response = await owner.http.post(f"/api/v1/turns/{ref.turn_id}/cancel")
    assert (left.json()["status"], response.json()["status"]) == ("running", "partial")


async def cancelled(run: WorkflowHandle[Any, Any]) -> bool:
    """Tell whether a run was asked to stop."""
    asked = HistoryEvent.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
    return asked in [event.event_type async for event in run.fetch_history_events()]


@pytest.mark.parametrize("meanwhile", ["unfinished", "finished"])
async def test_a_stop_reaches_the_run_that_a_reset_has_put_in_its_place_but_not_the_next_turns(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    monkeypatch.setattr(turn_stop, "WAIT", timedelta(seconds=0.1))
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    async with engine.begin() as connection:
        await begin(connection, ref, run_id=str(uuid4()))  # of the run as it was before
    run = await adapters.temporal.start_workflow(
        AnswerTurn.run, ref, id=turn_run(ref.conversation_id), task_queue="nobody"
    )

    async def find_it(client: Client, workflow_id: str) -> str | None:
        if meanwhile == "finished":
            await persist(engine, ref)
        return await open_run(client, workflow_id)

    monkeypatch.setattr(turn_stop, "open_run", find_it)
    stopped = await owner.http.post(f"/api/v1/turns/{ref.turn_id}/cancel")
    assert stopped.json()["status"] == ("running" if meanwhile == "unfinished" else "complete")
    assert await cancelled(run) is (meanwhile == "unfinished")
    await run.terminate()


async def test_a_client_that_leaves_stops_nothing_and_may_come_back(
    owner: Caller, app: FastAPI, adapters: Adapters, url: str
) -> None:
    go_on = asyncio.Event()
    async with answering(adapters, ["Two ", go_on, "years."]), listening(app, dict(owner.http.headers)) as http:
        async with http.stream("POST", url, json={"content": "How long?", "stream": True}) as response:
            sequence = 0
            async for number, type_, _ in events(response):
                if type_ == "message.delta":
                    sequence = number
                    break
        go_on.set()
        feed = f"{response.headers['Location']}/events"
        rest = await all_events(await http.get(feed, headers={"Last-Event-ID": str(sequence)}))
        by_query = await all_events(await http.get(feed, params={"after": sequence}))
        whole = await all_events(await http.get(feed))
    assert rest == by_query == whole[sequence:]
    assert rest[-1][2]["message"]["content"] == "Two years."


async def test_a_turn_that_ended_is_told_from_any_point_and_a_spent_cursor_ends_at_once(
    owner: Caller, engine: AsyncEngine
) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    await answered(engine, ref, "Two years.")
    feed = f"/api/v1/turns/{ref.turn_id}/events"
    whole = await all_events(await owner.http.get(feed))
    for after in range(len(whole)):
        assert await all_events(await owner.http.get(feed, params={"after": after})) == whole[after:]
    assert await all_events(await owner.http.get(feed, params={"after": len(whole)})) == []
    assert (await owner.http.get(feed, headers={"Last-Event-ID": "soon"})).status_code == 422


async def test_a_sequence_that_no_event_has_had_is_refused_and_not_waited_for(
    owner: Caller, engine: AsyncEngine
) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    feed = f"/api/v1/turns/{ref.turn_id}/events"
    waiting = await owner.http.get(feed, headers={"Last-Event-ID": "1"})
    await answered(engine, ref, "Two years.")
    last = (await all_events(await owner.http.get(feed)))[-1][0]
    ended = await owner.http.get(feed, params={"after": last + 1})
    for response, param in ((waiting, "last-event-id"), (ended, "after")):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (422, "invalid_cursor", param)


async def test_a_turn_whose_events_have_expired_still_tells_its_end(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    ref = await a_question(engine, owner.id, bot)
    await answered(engine, ref, "Two years.")
    feed = f"/api/v1/turns/{ref.turn_id}/events"
    last = (await all_events(await owner.http.get(feed)))[-1]
    async with engine.begin() as connection:
        await connection.execute(delete(turn_events))
    assert await all_events(await owner.http.get(feed)) == [last]


async def test_a_conversation_that_is_deleted_while_it_answers_leaves_nothing(
    owner: Caller, adapters: Adapters, engine: AsyncEngine, url: str
) -> None:
    go_on = asyncio.Event()
    async with answering(adapters, ["Two ", go_on, "years."]) as generator:
        waiting = asyncio.create_task(owner.http.post(url, json={"content": "How long?"}))
        await generator.started.wait()
        assert (await owner.http.delete(url.removesuffix("/messages"))).status_code == 204
        go_on.set()
        assert (await waiting).status_code == 404
        handle = adapters.temporal.get_workflow_handle(turn_run(url.split("/")[-2]))  # type: ignore[arg-type]  # an id as text
        await handle.result()
    async with engine.connect() as connection:
        for table in (turns, messages, turn_events):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0


async def test_a_history_is_small_and_holds_nothing_of_what_was_said(
    owner: Caller, adapters: Adapters, url: str
) -> None:
    async with answering(adapters, [f"Two years {SECRET} [1]."]):
        response = await owner.http.post(url, json={"content": f"How long is the warranty {SECRET}?"})
    assert response.json()["status"] == "complete"
    handle = adapters.temporal.get_workflow_handle(turn_run(url.split("/")[-2]))  # type: ignore[arg-type]  # an id as text
    await handle.result()
    history = await handle.fetch_history()
    size = sum(event.ByteSize() for event in history.events)
    whole = b"".join(event.SerializeToString() for event in history.events)
    assert history.events[-1].event_type == HistoryEvent.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
    assert len(history.events) <= 20
    assert size <= 5000
    for content in (SECRET, "warranty", "terms.pdf", "Batteries"):
        assert content.encode() not in whole
