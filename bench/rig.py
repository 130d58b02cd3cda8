"""The stack under measurement: the supervisor's own Postgres, Temporal, worker and API, and Gemini's double."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.embedded import postgres
from adapters.embedded.state import StateFolder
from adapters.models.providers import Models, open_models
from adapters.postgres.engine import open_engine
from adapters.settings import Settings
from tests.servers import ROOT, free_port
from tests.stack import Stack, stack


@dataclass(frozen=True, slots=True)
class Rig:
    """Everything a benchmark talks to; `http` is signed in as an owner with one bot."""

    stack: Stack
    double: httpx2.AsyncClient
    http: httpx2.AsyncClient
    engine: AsyncEngine
    database: asyncpg.Connection
    models: Models
    settings: Settings
    owner: UUID
    bot: UUID

    async def pace(self, **settings: float) -> None:
        """Set the double's pace in seconds: `embed_seconds` a batch, `pace` a delta; `stamped` writes the time into each."""
        (await self.double.post("/_settings", json=settings)).raise_for_status()

    async def answer_with(self, text: str) -> None:
        """Let the double answer this."""
        (await self.double.post("/_settings", json={"answer": text})).raise_for_status()

    async def ready(self, documents: list[UUID]) -> None:
        """Wait for the last of them. Only who waits is late; the seconds are the database's."""
        async with asyncio.timeout(600):
            while not await self._all_ready(documents):
                await asyncio.sleep(0.05)

    async def _all_ready(self, documents: list[UUID]) -> bool:
        row = await self.database.fetchrow(
            "select count(*) filter (where status = 'ready') as ready,"
            " count(*) filter (where status in ('failed', 'needs_attention')) as failed"
            " from documents where id = any($1)",
            documents,
        )
        if row["failed"]:
            raise RuntimeError(f"{row['failed']} documents failed:\n" + "\n".join(self.stack.lines[-20:]))
        return int(row["ready"]) == len(documents)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """Start everything, sign in, and stop it all at the end."""
    async with AsyncExitStack() as exits:
        double = await exits.enter_async_context(_double())
        running = await exits.enter_async_context(
            stack(
                PROVIDER="gemini", GEMINI_API_KEY="bench", GEMINI_BASE_URL=str(double.base_url).rstrip("/"), LOG_LEVEL="warning"
            )
        )  # fmt: skip
        await running.start()
        await running.ready()
        url = database_url(running.folder, int(running.settings["CHATSPHERE_POSTGRES_PORT"]))
        settings = Settings(
            provider="gemini", gemini_api_key="bench", gemini_base_url=str(double.base_url).rstrip("/"), database_url=url
        )  # fmt: skip
        engine = open_engine(url, application="bench")
        exits.push_async_callback(engine.dispose)
        database = await asyncpg.connect(url.replace("+asyncpg", ""))
        exits.push_async_callback(database.close)
        models = await exits.enter_async_context(open_models(settings))
        http = await exits.enter_async_context(running.client())
        owner, bot = await sign_in(http, "bench@example.com")
        (await double.post("/_settings", json={"canned": True})).raise_for_status()
        yield Rig(running, double, http, engine, database, models, settings, owner, bot)


async def sign_in(http: httpx2.AsyncClient, email: str) -> tuple[UUID, UUID]:
    """Register and log in; answers the owner and a bot of theirs."""
    credentials = {"email": email, "password": "correct horse battery staple"}
    user = (await http.post("/api/v1/auth/register", json=credentials)).raise_for_status().json()
    form = {"username": credentials["email"], "password": credentials["password"]}
    token = (await http.post("/api/v1/auth/token", data=form)).raise_for_status().json()
    http.headers["Authorization"] = f"Bearer {token['access_token']}"
    key = (await http.post("/api/v1/api-keys", json={"name": "bench", "scopes": ["read", "write"]})).raise_for_status()
    http.headers["Authorization"] = f"Bearer {key.json()['key']}"  # a token would expire before a long run ends
    bot = (await http.post("/api/v1/bots", json={"name": "Bench"})).raise_for_status().json()
    return UUID(user["id"]), UUID(bot["id"])


async def import_ended(http: httpx2.AsyncClient, import_id: UUID, *, pause: float = 0.1) -> dict[str, Any]:
    """Wait for an import's end, however it ends; answers what is shown of it."""
    while True:
        shown: dict[str, Any] = (await http.get(f"/api/v1/imports/{import_id}")).raise_for_status().json()
        if shown["status"] in ("complete", "failed", "cancelled"):
            return shown
        await asyncio.sleep(pause)


@asynccontextmanager
async def _double() -> AsyncIterator[httpx2.AsyncClient]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gemini_double", "--port", str(port), cwd=ROOT
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            async with asyncio.timeout(30):
                while not await _answers(client):
                    await asyncio.sleep(0.05)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        await client.get("/_calls")
    except httpx2.TransportError:
        return False
    return True


def database_url(folder: Path, port: int) -> str:
    """Give the address of a stack's database."""
    password = StateFolder(folder).secret("postgres_password")
    return postgres.Cluster(folder / "postgres", port, password).url("chatsphere")
