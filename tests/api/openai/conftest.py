"""OpenAI's own client, unmodified, against a listening API that turns are answered behind."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio
from fastapi import FastAPI
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from activities.registry import activities_of, interceptors_of
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.tuning import worker_options
from adapters.wiring import Adapters
from domain.ids import BotId
from domain.steps import Queue
from tests.api.conftest import Caller
from tests.api.turn_service import listening
from tests.builders import a_bot, a_ready_document
from tests.fakes import WordEmbedder
from tests.servers import temporal_server
from workflows.deletion import DeleteDocument
from workflows.ingestion import IngestDocument
from workflows.sandbox import workflow_runner
from workflows.turn import AnswerTurn

WARRANTY = "The warranty lasts two years. Batteries are excluded."
QUESTION = "How long does the warranty last?"
ANSWER = 'It says "The warranty lasts two years" [1].'


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def bot(owner: Caller, engine: AsyncEngine) -> BotId:
    """A bot with one document."""
    _, bot = await a_bot(engine, owner.id, name="Handbook", description="Answers about terms.")
    await a_ready_document(engine, owner.id, bot, [WARRANTY], WordEmbedder(), name="terms.pdf")
    return bot


@pytest_asyncio.fixture
async def client_of_openai(app: FastAPI, owner: Caller) -> AsyncIterator[AsyncOpenAI]:
    """The official client with an API key of the owner's; it repeats nothing by itself."""
    made = await owner.http.post("/api/v1/api-keys", json={"name": "door", "scopes": ["read", "write"]})
    key = made.json()["key"]
    async with (
        listening(app, {}) as http,
        AsyncOpenAI(
            base_url=f"{http.base_url}/openai/v1",
            api_key=key,
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client,
    ):
        yield client


@pytest_asyncio.fixture
async def working(adapters: Adapters) -> AsyncIterator[None]:
    """A worker for everything that files need."""
    async with AsyncExitStack() as stack:
        for queue in Queue:
            worker = Worker(
                adapters.temporal,
                task_queue=queue,
                workflows=[IngestDocument, DeleteDocument, AnswerTurn] if queue is Queue.CHAT else [],
                activities=activities_of(adapters, queue),
                interceptors=interceptors_of(adapters),
                workflow_runner=workflow_runner(),
                **worker_options(adapters.settings, queue),
            )
            await stack.enter_async_context(worker)
        yield
