"""The application factory: `uvicorn --factory api.main:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from adapters.logs import configure_logs
from adapters.settings import Settings
from adapters.telemetry import open_telemetry
from adapters.wiring import Adapters, open_adapters
from api import errors, idempotency
from api.body_limit import BodyLimit
from api.metrics import CountRequests, Metrics
from api.openai import chat, embeddings, files, models, store_files, vector_stores
from api.openai import responses as openai_responses
from api.openai.errors import PREFIX as OPENAI
from api.openai.errors import OpenAIErrors
from api.request_id import RequestId
from api.routes import (
    accounts,
    api_keys,
    bots,
    chunks,
    connections,
    conversations,
    crawls,
    deletions,
    documents,
    imports,
    indexes,
    ingestions,
    messages,
    search,
    service,
    turns,
    uploads,
    web,
)
from api.tracing import trace_requests

_DESCRIPTION = """
Chatbots that answer from their owners' documents, and show where each sentence comes from.

Send `Authorization: Bearer <access token or API key>`. Every failure has the same body, every answer an
`X-Request-ID`, every list a cursor; any POST may carry an `Idempotency-Key`.
"""

_TAGS = [
    {"name": "Accounts", "description": "Registration, tokens, the profile and API keys."},
    {"name": "Bots", "description": "What answers, and how."},
    {"name": "Connections", "description": "Databases and servers that a bot's tools reach."},
    {"name": "Documents", "description": "What is answered from: upload, progress, repair, deletion."},
    {"name": "Crawls", "description": "Sites that are gone through page by page."},
    {"name": "Imports", "description": "Many documents at once: progress, retry, cancel."},
    {"name": "Conversations", "description": "Questions and answers with citations."},
    {"name": "Search", "description": "Passages without an answer."},
    {"name": "OpenAI", "description": "What clients of OpenAI's API expect; failures in its shape."},
    {"name": "Service", "description": "For operators."},
]


def create_app(settings: Settings | None = None, adapters: Adapters | None = None) -> FastAPI:
    """Build the API. Adapters that are given stay open; otherwise it is the process's main, and opens its own."""
    if settings is None:
        settings = adapters.settings if adapters is not None else Settings()
    if adapters is None:
        configure_logs(level=settings.log_level, style=settings.log_format, service="api")
    telemetry = open_telemetry("api") if adapters is None else adapters.telemetry

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if adapters is not None:
            app.state.adapters = adapters
            yield
            return
        async with open_adapters(settings, service="api", telemetry=telemetry) as opened:
            app.state.adapters = opened
            yield

    app = FastAPI(
        title="ChatSphere",
        version="1.0.0",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redoc_url=None,
        responses=errors.responses(),
    )
    metrics = Metrics()
    app.state.settings = settings
    app.state.metrics = metrics
    app.include_router(_version_1())
    app.include_router(_openai())
    app.include_router(service.router)
    errors.install(app)
    idempotency.install(app)
    # The last added is the outermost.
    app.add_middleware(BodyLimit, upload_bytes=settings.max_upload_bytes, import_bytes=settings.import_max_bytes)
    app.add_middleware(OpenAIErrors)
    app.add_middleware(CountRequests, metrics=metrics)
    app.add_middleware(RequestId, internal_error=OpenAIErrors(_internal_error))
    trace_requests(app, telemetry)
    return app


def _version_1() -> APIRouter:
    router = APIRouter(prefix="/api/v1")
    for part in (
        accounts,
        api_keys,
        bots,
        connections,
        indexes,
        uploads,
        web,
        crawls,
        documents,
        chunks,
        ingestions,
        imports,
        deletions,
        conversations,
        messages,
        turns,
        search,
    ):
        router.include_router(part.router)
    return router


def _openai() -> APIRouter:
    router = APIRouter(prefix=f"{OPENAI}/v1")
    for part in (models, chat, openai_responses, embeddings, files, vector_stores, store_files):
        router.include_router(part.router)
    return router


def _operation_id(route: APIRoute) -> str:
    """Name operations as the functions are named, so that generated clients read well."""
    return route.name


async def _internal_error(scope: Scope, receive: Receive, send: Send) -> None:
    await errors.internal_problem()(scope, receive, send)
