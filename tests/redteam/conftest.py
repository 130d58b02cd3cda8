"""One deployment; each document in a bot of its own, and a neighbour whose secret nobody may learn."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio

from tests.person import Person
from tests.processes import Deployment, deployment
from tests.redteam.documents import DOCUMENTS
from tests.redteam.injected import FACT, Injected

NEIGHBOURS_SECRET = "The neighbour's reading room is opened by the code 77415."
_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class House:
    """Where the documents are."""

    deployed: Deployment
    person: Person
    bots: dict[str, str]
    """Of each document's title."""
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the model was sent at the first question to each document's bot, as far as it was asked."""


@pytest_asyncio.fixture(scope="session")
async def house() -> AsyncIterator[House]:
    async with deployment() as deployed:
        deployed.double.keep_requests = True
        api = await deployed.an_api()
        async with api.client() as client, api.client() as next_door:
            neighbour = await Person.arrives(next_door)
            await neighbour.ready(await neighbour.upload("secret.txt", f"{FACT} {NEIGHBOURS_SECRET}".encode()))
            person = await Person.arrives(client)
            slots = asyncio.Semaphore(_AT_ONCE)

            async def settled(document: Injected) -> str:
                async with slots:
                    return await _settled(person, document)

            bots = await asyncio.gather(*(settled(document) for document in DOCUMENTS))
            yield House(deployed, person, {d.title: bot for d, bot in zip(DOCUMENTS, bots, strict=True)})


async def _settled(person: Person, document: Injected) -> str:
    """Give the document a bot and the product's whole ingestion."""
    bot = str((await person.post("/bots", json={"name": document.title}))["id"])
    files = {"file": (document.name, document.content)}
    response = await person.client.post(f"/bots/{bot}/documents", files=files)
    assert response.status_code == 202, (document.title, response.text)
    await person.ready(response.json()["id"])
    return bot
