"""The real app on the real database and the real Temporal server, called over ASGI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.extraction.extractor import SubprocessExtractor
from adapters.postgres.feeds import Feeds
from adapters.postgres.notifications import Notifications
from adapters.settings import Settings
from adapters.telemetry import Telemetry
from adapters.temporal.client import ensure_search_attributes
from adapters.web.fetcher import WebFetcher
from adapters.wiring import Adapters, fetch_limits
from api import turn_stop
from api.main import create_app
from api.security import issue_access_token
from domain.ids import UserId
from tests.builders import a_user
from tests.fakes import ScriptedGenerator, WordEmbedder
from tests.servers import TemporalServer, temporal_server

UPLOAD_LIMIT = 300_000


@dataclass(frozen=True)
class Caller:
    """Someone with an account, and a client that is logged in as them."""

    id: UserId
    http: AsyncClient


@asynccontextmanager
async def logged_in(app: FastAPI, settings: Settings, user: UserId) -> AsyncIterator[Caller]:
    token = issue_access_token(
        user, secret=settings.secret_key.get_secret_value(), now=now(), lifetime=settings.access_token_lifetime
    )
    headers = {"Authorization": f"Bearer {token}"}
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test", headers=headers) as http:
        yield Caller(user, http)


@pytest_asyncio.fixture(scope="session")
async def api_server() -> AsyncIterator[TemporalServer]:
    """A server of the API's own: what is started here without a worker stays open, and is nobody else's task."""
    async with temporal_server() as server:
        yield server


@pytest_asyncio.fixture(scope="session")
async def temporal(api_server: TemporalServer) -> Client:
    client = await api_server.client()
    await ensure_search_attributes(client)
    return client


@pytest.fixture(autouse=True)
def patient_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine under load takes its time to stop a turn."""
    monkeypatch.setattr(turn_stop, "WAIT", timedelta(seconds=60))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        blob_dir=tmp_path / "blobs",
        max_upload_bytes=UPLOAD_LIMIT,
        fetch_allowed_networks="127.0.0.0/8",
        secret_key=SecretStr("a secret of the tests, long enough"),
    )


@pytest_asyncio.fixture
async def adapters(settings: Settings, engine: AsyncEngine, temporal: Client) -> AsyncIterator[Adapters]:
    notifications = Notifications(settings.database_url)
    fetcher = WebFetcher(fetch_limits(settings), allowed=settings.networks)
    yield Adapters(
        settings=settings,
        engine=engine,
        blobs=FolderBlobStore(settings.blob_dir),
        temporal=temporal,
        embedder=WordEmbedder(),
        generator=ScriptedGenerator(),
        extractor=SubprocessExtractor(),
        fetcher=fetcher,
        notifications=notifications,
        feeds=Feeds(engine),
        telemetry=Telemetry(),
    )
    await fetcher.aclose()
    await notifications.close()


@pytest_asyncio.fixture
async def app(adapters: Adapters) -> AsyncIterator[FastAPI]:
    app = create_app(adapters=adapters)
    async with LifespanManager(app):
        yield app


@pytest_asyncio.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Nobody: no credential."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest_asyncio.fixture
async def owner(app: FastAPI, settings: Settings, engine: AsyncEngine) -> AsyncIterator[Caller]:
    async with logged_in(app, settings, await a_user(engine)) as caller:
        yield caller


@pytest_asyncio.fixture
async def stranger(app: FastAPI, settings: Settings, engine: AsyncEngine) -> AsyncIterator[Caller]:
    async with logged_in(app, settings, await a_user(engine)) as caller:
        yield caller
