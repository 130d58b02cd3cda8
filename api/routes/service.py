"""For operators, at the root: no credential, no data of anyone."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import structlog
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.clock import now
from adapters.postgres import budgets, documents
from adapters.postgres.engine import transaction
from api.dependencies import AdaptersDep
from api.errors import responses
from api.metrics import Metrics
from api.schemas.base import Answer

router = APIRouter(tags=["Service"])
log = structlog.get_logger(__name__)

_PATIENCE = 3.0

# A bot's owner chooses its model: labels must not grow with whatever names there are.
_MODELS_SHOWN = 20
_BUDGETS_SHOWN = timedelta(hours=1)

State = Literal["ok", "failed"]

_METRICS = {"schema": {"type": "string"}, "example": 'chatsphere_documents{status="ready"} 14.0\n'}
_CHECKED = ("database", "temporal", "migrations")


class Alive(Answer):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok"}})

    status: Literal["ok"] = "ok"


class Checks(Answer):
    """What the service stands on."""

    database: State
    temporal: State
    migrations: Annotated[State, Field(description="`ok` where the schema is the one this version needs.")]


class Ready(Answer):
    """Whether requests can be served now."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "checks": dict.fromkeys(_CHECKED, "ok")}})

    status: State
    checks: Checks


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Answer as long as the process lives; asks nothing else."""
    return Alive()


@router.get("/readyz", summary="Can requests be served?", responses={503: {"model": Ready}})
async def readyz(adapters: AdaptersDep, response: Response) -> Ready:
    """Look at the database, Temporal and the migrations, and name each."""
    database, temporal, migrations = await asyncio.gather(
        _state("database", _database(adapters.engine)),
        _state("temporal", _temporal(adapters.temporal)),
        _state("migrations", _migrations(adapters.engine)),
    )
    checks = Checks(database=database, temporal=temporal, migrations=migrations)
    ready = {database, temporal, migrations} == {"ok"}
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Ready(status="ok" if ready else "failed", checks=checks)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={**responses(), 200: {"content": {"text/plain": _METRICS}, "description": "Prometheus' text format."}},
)
async def metrics(request: Request, adapters: AdaptersDep) -> Response:
    """Give counts and times of requests, documents by status, and what each model may be asked for."""
    collected: Metrics = request.app.state.metrics
    async with transaction(adapters.engine) as connection:
        found = await budgets.recent(connection, now=now(), within=_BUDGETS_SHOWN, limit=_MODELS_SHOWN)
        collected.show_budgets(((key.provider, key.model, budget) for key, budget in found), now=now())
        for status, count in (await documents.count_by_status(connection)).items():
            collected.documents.labels(status).set(count)
    return Response(generate_latest(collected.registry), media_type=CONTENT_TYPE_LATEST)


async def _state(name: str, check: Awaitable[bool]) -> State:
    try:
        async with asyncio.timeout(_PATIENCE):
            return "ok" if await check else "failed"
    except Exception as error:  # noqa: BLE001  (whatever it is, the part is not ready)
        log.warning("not_ready", part=name, error=type(error).__name__)
        return "failed"


async def _database(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return bool((await connection.execute(text("select true"))).scalar_one())


async def _temporal(client: Client) -> bool:
    return await client.service_client.check_health()


async def _migrations(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        found = (await connection.execute(text("select version_num from alembic_version"))).scalars().all()
    return set(found) == await asyncio.to_thread(_heads)


@cache
def _heads() -> frozenset[str]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    return frozenset(ScriptDirectory.from_config(config).get_heads())
