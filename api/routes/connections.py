"""Connections: databases and headers that a bot's tools use."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy import Row

from adapters.ids import new_id
from adapters.postgres import connections
from adapters.sealing import connection_sealer
from api.dependencies import Reader, SettingsDep, TransactionDep, Writer
from api.errors import responses
from api.idempotency import OnceDep
from api.pagination import ListingDep
from api.schemas.base import ListOf
from api.schemas.connections import Connection, ConnectionBody, HttpBody, McpBody
from domain.connections import HttpSecret, McpSecret, PostgresSecret, read_dsn
from domain.ids import ConnectionId
from domain.web import normalise

router = APIRouter(prefix="/connections", tags=["Connections"])


@router.post("", status_code=201, summary="Register a connection", responses=responses(400, 401, 403, 409))
async def create_connection(
    body: ConnectionBody,
    user: Writer,
    settings: SettingsDep,
    connection: TransactionDep,
    once: OnceDep,
    response: Response,
) -> Connection:
    """Register what tools are to reach. The secret is encrypted, and never shown again."""
    await once.claim(connection, user.id)
    host, secret = _secret(body)
    row = await connections.add(
        connection,
        {
            "id": new_id(),
            "owner_id": user.id,
            "name": body.root.name,
            "kind": body.root.kind,
            "host": host,
            "sealed": connection_sealer(settings).seal(secret.model_dump_json()),
        },
    )
    headers = {"Location": f"/api/v1/connections/{row.id}"}
    response.headers.update(headers)
    return await once.keep(connection, user.id, 201, _render(row), headers)


@router.get("", summary="List connections", responses=responses(401, 403))
async def list_connections(user: Reader, connection: TransactionDep, listing: ListingDep) -> ListOf[Connection]:
    """List your connections, without their secrets."""
    bound = listing.of("connections", user.id)
    rows = await connections.page(connection, user.id, bound.window)
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=_render)


@router.get("/{connection_id}", summary="See a connection", responses=responses(401, 403, 404))
async def get_connection(connection_id: UUID, user: Reader, connection: TransactionDep) -> Connection:
    """See one connection, without its secret."""
    return _render(await connections.read(connection, user.id, ConnectionId(connection_id)))


@router.delete("/{connection_id}", status_code=204, summary="Delete a connection", responses=responses(401, 403, 404))
async def delete_connection(connection_id: UUID, user: Writer, connection: TransactionDep) -> None:
    """Delete a connection with its secret. Tools that name it fail from now on, and say so to their model."""
    await connections.remove(connection, user.id, ConnectionId(connection_id))


def _secret(body: ConnectionBody) -> tuple[str | None, PostgresSecret | HttpSecret | McpSecret]:
    """Give the host that is shown, and what is sealed. Raises `ConnectionInvalid`."""
    given = body.root
    if isinstance(given, HttpBody):
        return None, HttpSecret(headers=given.headers)
    if isinstance(given, McpBody):
        url = normalise(given.url)
        return urlsplit(url).hostname, McpSecret(url=url, headers=given.headers or {})
    dsn = given.dsn.get_secret_value()
    return read_dsn(dsn).host, PostgresSecret(dsn=dsn)


def _render(row: Row[Any]) -> Connection:
    return Connection(**{name: getattr(row, name) for name in Connection.model_fields})
