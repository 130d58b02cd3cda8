"""Two worker processes share one budget."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faults.manuscripts import manuscript
from tests.person import Person
from tests.processes import Deployment, deployment

LIMIT = 240
# What ingestion may take of a limit of 240 in any five seconds: half a burst of 24, and 217 a minute.
WINDOW, ALLOWED = 5.0, 12 + 18


@pytest_asyncio.fixture(scope="module")
async def limited() -> AsyncIterator[Deployment]:
    settings = {"CHUNK_CHARACTERS": "200", "CHUNK_OVERLAP": "20", "EMBEDDING_REQUESTS_PER_MINUTE": str(LIMIT)}
    async with deployment(ui=False, **settings) as deployed:
        await deployed.worker()
        yield deployed


async def test_two_workers_keep_to_one_limit(limited: Deployment) -> None:
    double = limited.double
    double.reset()
    # A call may be under way for a moment longer than the one before: a few more are let through.
    double.quota, double.quota_seconds = ALLOWED + 4, WINDOW
    async with (await limited.an_api()).client() as client:
        person = await Person.arrives(client)
        texts = {name: manuscript(name) for name in ("one", "two", "three", "four")}
        documents = [await person.upload(f"{name}.txt", content) for name, content in texts.items()]
        await asyncio.gather(*(person.ready(document) for document in documents))
    assert double.calls["embed"] > ALLOWED
    assert double.refused == 0
