"""Two worker processes share one budget."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faults.manuscripts import manuscript
from tests.person import Person
from tests.processes import Deployment, deployment

LIMIT = 60
# What ingestion may take of a limit of 60 in any five seconds: half a burst of 6, and 54 a minute.
WINDOW, ALLOWED = 5.0, 3 + 5


@pytest_asyncio.fixture(scope="module")
async def limited() -> AsyncIterator[Deployment]:
    settings = {"CHUNK_CHARACTERS": "200", "CHUNK_OVERLAP": "20", "EMBEDDING_REQUESTS_PER_MINUTE": str(LIMIT)}
    async with deployment(ui=False, **settings) as deployed:
        await deployed.worker()
        yield deployed


async def test_two_workers_keep_to_one_limit(limited: Deployment) -> None:
    double = limited.double
    double.reset()
    # On a busy machine calls come late, and then together: half as many more are let through. Were the budget not
    # shared, twice as many would come.
    double.quota, double.quota_seconds = ALLOWED * 3 // 2, WINDOW
    async with (await limited.an_api()).client() as client:
        person = await Person.arrives(client)
        texts = {name: manuscript(name) for name in ("one", "two")}
        documents = [await person.upload(f"{name}.txt", content) for name, content in texts.items()]
        await asyncio.gather(*(person.ready(document) for document in documents))
    assert double.calls["embed"] > double.quota
    assert double.refused == 0
