"""A worker dies in the middle of an import. Another one goes on, and no document is lost, doubled or paid for again."""

import asyncio
from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import chunks, documents
from domain import policy
from tests.gemini_double import GeminiDouble, fine, stalled
from tests.person import Person
from tests.processes import Deployment, Worker

FILES = 260  # five packs
STORED = 2


def note(number: int) -> bytes:
    return f"Note {number} says that the key of drawer {number} hangs on hook {number * 31 % 997}.".encode()


async def test_an_import_goes_on_where_the_killed_worker_stopped(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, rows: AsyncEngine
) -> None:
    double.script("embed", *[fine()] * STORED, *[stalled()] * 3)
    files = [("files", (f"{number}.txt", note(number), "text/plain")) for number in range(FILES)]
    started = await person.post(f"/bots/{person.bot}/imports", files=files)
    await asyncio.wait_for(double.reached.wait(), 60)
    async with rows.connect() as connection, asyncio.timeout(120):
        query = select(chunks.c.content).join(documents, documents.c.id == chunks.c.document_id)
        mine = query.where(documents.c.import_id == started["id"])
        while len(stored := set((await connection.execute(mine)).scalars())) < 64:
            await connection.rollback()
            await asyncio.sleep(0.05)
    await worker.kill()
    double.release.set()
    await deployed.worker()

    assert policy.EMBED.heartbeat is not None
    seconds = policy.EMBED.heartbeat.total_seconds() + 120
    async with asyncio.timeout(seconds), person.watches_import(started["id"]) as events:
        seen = [sent.data async for sent in events]
    assert (seen[-1]["status"], seen[-1]["counts"]["ready"]) == ("complete", FILES), seen[-1]
    async with rows.connect() as connection:
        found = list((await connection.execute(mine)).scalars())
        ready = select(func.count()).where(documents.c.import_id == started["id"], documents.c.status == "ready")
        assert await connection.scalar(ready) == FILES
    assert sorted(found) == sorted(note(number).decode() for number in range(FILES))
    paid = Counter(double.texts_embedded)
    assert {text for text in stored if paid[text] > 1} == set(), "a stored chunk was paid for again"
