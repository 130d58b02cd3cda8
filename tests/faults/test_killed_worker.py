"""A worker dies without a word. Another one takes over, and nothing is lost, doubled or paid for again."""

import asyncio
from collections import Counter

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import chunks
from domain import policy
from tests.faults.manuscripts import manuscript
from tests.gemini_double import GeminiDouble, fine, stalled
from tests.person import FINAL, Person, Sent, shown
from tests.processes import Deployment, Worker

BATCH = 100
IN_FLIGHT = 5  # what is left of nine: two shards have six
STORED = 4


async def test_an_ingestion_goes_on_where_the_killed_worker_stopped(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, rows: AsyncEngine
) -> None:
    double.script("embed", *[fine()] * STORED, *[stalled()] * IN_FLIGHT)
    document = await person.upload("keys.txt", manuscript("Killed"))
    await asyncio.wait_for(double.reached.wait(), 60)
    await person.until(document, lambda now: now["progress"]["chunks_done"] >= STORED * BATCH)
    await worker.kill()
    async with rows.connect() as connection:
        query = select(chunks.c.content).where(chunks.c.document_id == document)
        stored = set((await connection.execute(query)).scalars())
    assert len(stored) == STORED * BATCH
    double.release.set()
    await deployed.worker()

    assert policy.EMBED.heartbeat is not None
    seen = await person.ready(document, seconds=policy.EMBED.heartbeat.total_seconds() + 120)
    published = await person.chunks(document)
    assert [chunk["ordinal"] for chunk in published] == list(range(seen["chunk_count"]))
    assert seen["progress"]["chunks_total"] == seen["chunk_count"] > STORED * BATCH
    paid = Counter(double.texts_embedded)
    assert {chunk["content"] for chunk in published} == set(paid)
    assert {text for text in stored if paid[text] > 1} == set(), "a stored batch was paid for again"
    assert paid.total() <= len(published) + IN_FLIGHT * BATCH
    flight = await person.get(f"/documents/{document}/ingestion")
    assert flight["model_calls"]["made"] == flight["model_calls"]["needed"] == len(published) // BATCH


async def test_an_answer_starts_again_in_sight_of_the_client(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person
) -> None:
    double.answer = " ".join(f"word{number}" for number in range(40))
    double.pace = 0.02
    double.script("generate", stalled(after=10))
    await person.asks_its_model()
    conversation = await person.conversation()
    events: list[Sent] = []
    async with asyncio.timeout(180), person.asks(conversation, "Where is the key?") as stream:
        async for sent in stream:
            events.append(sent)
            if sent.event == "message.delta" and worker.runs:
                await asyncio.wait_for(double.reached.wait(), 60)
                await worker.kill()
                double.release.set()
                await deployed.worker()
            if sent.event in FINAL:
                break
    kinds = [sent.event for sent in events]
    assert kinds.count("message.reset") == 1
    assert kinds[-1] == "message.completed"
    assert [sent.id for sent in events] == list(range(1, len(events) + 1))
    answers = [m for m in await person.all(f"/conversations/{conversation}/messages") if m["role"] == "assistant"]
    assert [answer["content"] for answer in answers] == [shown(events)] == [double.answer]
    assert answers[0]["status"] == "complete"
    assert double.calls["generate"] == 2
