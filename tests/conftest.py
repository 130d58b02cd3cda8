"""Fixtures that every folder of tests shares. The servers themselves are in `tests/servers.py`."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from adapters.embedded.temporal import program
from adapters.postgres.engine import open_engine
from adapters.temporal.client import SEARCH_ATTRIBUTES, data_converter
from tests import servers


@pytest_asyncio.fixture(scope="session")
async def postgres() -> AsyncIterator[servers.PostgresServer]:
    """One embedded Postgres a test process; a test that stops it starts one of its own instead."""
    async with servers.postgres_server() as server:
        yield server


@pytest_asyncio.fixture(scope="session")
async def template_database(postgres: servers.PostgresServer) -> str:
    return await servers.migrated_template(postgres)


@pytest_asyncio.fixture
async def database_url(postgres: servers.PostgresServer, template_database: str) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    name = await postgres.clone(template_database)
    yield postgres.url(name)
    await postgres.drop(name)


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(database_url)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture(scope="module")
async def temporal_env() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server. One test at a time awaits results on it: skipping is global.

    One a module: an activity that its worker left unfinished holds the server's clock, and must not
    hold that of another module's tests.
    """
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=data_converter(), test_server_existing_path=str(program("temporal-test-server"))
    ) as environment:
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=environment.client.namespace,
                search_attributes=dict.fromkeys(
                    (key.name for key in SEARCH_ATTRIBUTES), IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
                ),
            )
        )
        yield environment


@pytest_asyncio.fixture(scope="module")
async def dev_server() -> AsyncIterator[servers.TemporalServer]:
    """One real Temporal server a module; a test that stops it starts one of its own instead.

    Not one for all: runs that a module's tests leave open would come to the workers of the next one.
    """
    async with servers.temporal_server() as server:
        yield server
