"""Connections on the wire: secrets come in, and never go out."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, RootModel, SecretStr

from api.schemas.base import Answer, Body, Name
from domain.connections import ConnectionKind, Headers

_POSTGRES: dict[str, Any] = {
    "kind": "postgres",
    "name": "Orders",
    "dsn": "postgresql://reader:…@db.example.com:5432/orders?sslmode=verify-full",
}

_HTTP: dict[str, Any] = {"kind": "http", "name": "Weather", "headers": {"X-Api-Key": "0123456789abcdef"}}
_MCP: dict[str, Any] = {"kind": "mcp", "name": "Tickets", "url": "https://mcp.example.com/mcp"}


class PostgresBody(Body):
    """A database. Give it a user that may read only what the bot may tell."""

    model_config = ConfigDict(json_schema_extra={"example": _POSTGRES})

    kind: Literal[ConnectionKind.POSTGRES]
    name: Name
    dsn: Annotated[SecretStr, Field(min_length=1, max_length=2000, description="`postgresql://…`; see docs/agents.md.")]


class HttpBody(Body):
    """Headers that requests get, for example a key of an API."""

    model_config = ConfigDict(json_schema_extra={"example": _HTTP})

    kind: Literal[ConnectionKind.HTTP]
    name: Name
    headers: Annotated[Headers, Field(description="Names and values; the model sees neither.")]


class McpBody(Body):
    """A server of tools that speaks MCP over HTTP."""

    model_config = ConfigDict(json_schema_extra={"example": _MCP})

    kind: Literal[ConnectionKind.MCP]
    name: Name
    url: Annotated[str, Field(max_length=2000, description="Of its MCP endpoint.")]
    headers: Annotated[Headers | None, Field(description="That each request gets, for example a key.")] = None


class ConnectionBody(RootModel[Annotated[PostgresBody | HttpBody | McpBody, Field(discriminator="kind")]]):
    """What is to be reached, by its kind."""

    model_config = ConfigDict(json_schema_extra={"example": _POSTGRES})


class Connection(Answer):
    """A connection without its secret."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "0199f0c4-0009-7b6c-8a51-6d2f0e9c7b11",
                "name": "Orders",
                "kind": "postgres",
                "host": "db.example.com",
                "created_at": "2026-11-21T12:00:00Z",
            }
        }
    )

    id: UUID
    name: str
    kind: ConnectionKind
    host: Annotated[str | None, Field(description="Where it leads; null for headers, which go where a tool says.")]
    created_at: datetime
