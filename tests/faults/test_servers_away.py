"""Temporal, Postgres and the API go away in the middle of the work, and come back."""

import asyncio
import signal
from collections import Counter

from tests.faults.manuscripts import manuscript
from tests.faults.readers import Reader
from tests.gemini_double import GeminiDouble, fine, stalled
from tests.person import FINAL, Person, Sent, shown
from tests.processes import Api, Deployment, Worker

BATCH = 100
IN_FLIGHT = 6
STORED = 2


async def an_ingestion_in_the_middle(person: Person, double: GeminiDouble, title: str) -> str:
    """Some batches are stored, and the calls for others hang."""
    double.script("embed", *[fine()] * STORED, *[stalled()] * IN_FLIGHT)
    document = await person.upload(f"{title}.txt", manuscript(title))
    await asyncio.wait_for(double.reached.wait(), 60)
    await person.until(document, lambda now: now["progress"]["chunks_done"] >= STORED * BATCH)
    return document


async def nothing_is_lost_or_doubled(person: Person, double: GeminiDouble, document: str, *, again: int) -> None:
    seen = await person.ready(document)
    published = await person.chunks(document)
    assert [chunk["ordinal"] for chunk in published] == list(range(seen["chunk_count"]))
    paid = Counter(double.texts_embedded)
    assert {chunk["content"] for chunk in published} == set(paid)
    assert paid.total() <= len(published) + again, "more was paid again than could be helped"


async def test_temporal_is_killed_and_started_again_in_the_middle_of_an_ingestion(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person
) -> None:
    document = await an_ingestion_in_the_middle(person, double, "Temporal")
    await deployed.temporal.stop(signal.SIGKILL)
    double.release.set()
    await deployed.temporal.start()
    await nothing_is_lost_or_doubled(person, double, document, again=IN_FLIGHT * BATCH)
    assert worker.runs


async def test_postgres_is_stopped_at_once_and_started_again_in_the_middle_of_an_ingestion(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person
) -> None:
    document = await an_ingestion_in_the_middle(person, double, "Postgres")
    await deployed.postgres.kill()
    double.release.set()
    await deployed.postgres.start()
    await nothing_is_lost_or_doubled(person, double, document, again=0)
    assert worker.runs


async def test_what_is_uploaded_while_temporal_is_down_is_accepted_and_becomes_ready(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person
) -> None:
    await deployed.temporal.stop()
    document = await person.upload("note.txt", b"The key hangs on hook 31 in room 7.")
    assert (await person.document(document))["status"] == "pending"
    await deployed.temporal.start()
    await person.ready(document)
    assert [chunk["ordinal"] for chunk in await person.chunks(document)] == [0]


async def test_a_question_of_which_nobody_could_tell_temporal_is_answered(
    deployed: Deployment, double: GeminiDouble, worker: Worker, api: Api, person: Person
) -> None:
    await person.asks_its_model()
    other = await deployed.api()
    reader = Reader(person, await person.conversation(), "Where is the key?")
    await deployed.temporal.stop(signal.SIGKILL)
    async with other.client() as elsewhere, asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(reader.ask())
        await reader.until(lambda seen: bool(seen.turn))
        await api.kill()
        await deployed.temporal.start()
        await reader.go_on(elsewhere)
        person.client = elsewhere
        assert reader.events[-1].event == "message.completed"
        asked, answer = await person.all(reader.path)
    assert (asked["role"], answer["content"]) == ("user", shown(reader.events))
    assert double.calls["generate"] == 1
    await other.stop()


async def test_another_api_process_goes_on_where_the_killed_one_stopped(
    deployed: Deployment, double: GeminiDouble, worker: Worker, api: Api, person: Person
) -> None:
    double.answer = " ".join(f"word{number}" for number in range(60))
    double.pace = 0.03
    double.script("generate", stalled(after=20))
    other = await deployed.api()
    await person.asks_its_model()
    conversation = await person.conversation()
    events: list[Sent] = []
    turn = ""
    async with asyncio.timeout(120), person.asks(conversation, "Where is the key?") as stream:
        async for sent in stream:
            events.append(sent)
            turn = sent.data.get("turn_id", turn)
            if sent.event == "message.delta":
                break
        await api.kill()
        double.release.set()
    async with (
        asyncio.timeout(120), other.client() as client,
        person.resumes(turn, events[-1].id, client=client) as stream,
    ):  # fmt: skip
        async for sent in stream:
            events.append(sent)
            if sent.event in FINAL:
                break
        assert events[-1].event == "message.completed"
        assert [sent.id for sent in events] == list(range(1, len(events) + 1))
        answer = events[-1].data["message"]
        assert answer["content"] == shown(events) == double.answer
        response = await client.get(f"/conversations/{conversation}/messages", params={"order": "asc"})
    assert [message["role"] for message in response.json()["data"]] == ["user", "assistant"]
    assert double.calls["generate"] == 1
