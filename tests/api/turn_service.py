"""A worker and a listening API for turns, in the test's own process; a Temporal server of their own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from temporalio.worker import Worker

from activities.interceptor import ErrorInterceptor
from activities.registry import activities_of
from adapters.temporal.tuning import worker_options
from adapters.wiring import Adapters
from domain.steps import Queue
from tests.fakes import Piece, ScriptedGenerator
from tests.servers import free_port
from workflows.sandbox import workflow_runner
from workflows.turn import AnswerTurn


@asynccontextmanager
async def answering(adapters: Adapters, *scripts: list[Piece]) -> AsyncIterator[ScriptedGenerator]:
    """Serve turns with a generator that plays these scripts."""
    assert isinstance(adapters.generator, ScriptedGenerator)
    adapters.generator.scripts = list(scripts)
    async with serving(adapters):
        yield adapters.generator


@asynccontextmanager
async def serving(adapters: Adapters) -> AsyncIterator[None]:
    """Serve turns."""
    async with AsyncExitStack() as stack:
        for queue in (Queue.CHAT, Queue.MODELS):
            worker = Worker(
                adapters.temporal,
                task_queue=queue,
                workflows=[AnswerTurn] if queue is Queue.CHAT else [],
                activities=activities_of(adapters, queue),
                interceptors=[ErrorInterceptor()],
                workflow_runner=workflow_runner(),
                **worker_options(adapters.settings, queue),
            )
            await stack.enter_async_context(worker)
        yield


@asynccontextmanager
async def listening(app: FastAPI, headers: dict[str, str]) -> AsyncIterator[AsyncClient]:
    """Serve the app over HTTP: the transport that calls it directly gives an answer when it is whole only."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_config=None))
    serving = asyncio.create_task(server._serve())
    try:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as http:
            async with asyncio.timeout(60):
                while not server.started:  # noqa: ASYNC110  (a flag of uvicorn)
                    await asyncio.sleep(0.01)
            yield http
    finally:
        server.should_exit = True
        await serving


async def events(response: Response) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
    """Read server-sent events as they come."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


async def all_events(response: Response) -> list[tuple[int, str, dict[str, Any]]]:
    return [event async for event in events(response)]
