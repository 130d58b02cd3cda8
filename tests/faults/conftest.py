"""One deployment for all faults; each test finds a worker and an API that run, and a fresh person."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import open_engine
from tests.gemini_double import GeminiDouble
from tests.person import Person
from tests.processes import Api, Deployment, Worker, deployment


@pytest_asyncio.fixture(scope="session")
async def deployed() -> AsyncIterator[Deployment]:
    async with deployment(
        CHUNK_CHARACTERS="200", CHUNK_OVERLAP="20", FETCH_ALLOWED_NETWORKS="127.0.0.1/32", CRAWL_DELAY_SECONDS="0"
    ) as deployed:
        yield deployed


@pytest_asyncio.fixture
async def double(deployed: Deployment) -> GeminiDouble:
    """A provider that is well, and of whose refusals to other tests nobody knows any more."""
    deployed.double.reset()
    await deployed.forget_refusals()
    return deployed.double


@pytest_asyncio.fixture
async def worker(deployed: Deployment) -> Worker:
    return await deployed.a_worker()


@pytest_asyncio.fixture
async def api(deployed: Deployment) -> Api:
    return await deployed.an_api()


@pytest_asyncio.fixture
async def person(api: Api) -> AsyncIterator[Person]:
    async with api.client() as client:
        yield await Person.arrives(client)


@pytest_asyncio.fixture
async def rows(deployed: Deployment) -> AsyncIterator[AsyncEngine]:
    """The deployment's own database, to look into."""
    engine = open_engine(deployed.database_url, pool_size=2)
    yield engine
    await engine.dispose()
