"""Connections: what an owner registers for tools to reach. Secrets are sealed at rest and never shown again."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, Field, JsonValue

from domain.errors import ConnectionInvalid
from domain.model import Model, Strict

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e]{1,4000}")
_NOT_YOURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_TLS = ("disable", "require", "verify-full")
_OPTIONS = [[("sslmode", tls)] for tls in _TLS]


class ConnectionKind(StrEnum):
    """What a connection leads to."""

    POSTGRES = "postgres"
    HTTP = "http"
    MCP = "mcp"


@dataclass(frozen=True, slots=True)
class Dsn:
    """A database's address, and who one is there."""

    host: str
    port: int
    user: str
    password: str
    database: str
    tls: str


def read_dsn(text: str) -> Dsn:
    """Read `postgresql://user:password@host:port/database?sslmode=…`. Raises `ConnectionInvalid`."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or 5432
        user, password, database = map(_decoded, (parts.username, parts.password, parts.path.lstrip("/")))
    except ValueError as error:
        raise _invalid("This is not a URL of a database.") from error
    if parts.scheme.partition("+")[0] not in ("postgres", "postgresql"):
        raise _invalid("Only PostgreSQL is supported: the URL begins with postgresql://.")
    options = parse_qsl(parts.query, keep_blank_values=True) or [("sslmode", "disable")]
    if not host or not user or "," in parts.netloc or not database or options not in _OPTIONS:
        raise _invalid(
            "Write it as postgresql://user:password@host:5432/database?sslmode=…, with one host, and one of "
            f"{', '.join(_TLS)} as `sslmode`, once; other options are not taken."
        )
    [(_, tls)] = options
    return Dsn(host, port, user, password, database, tls)


def _decoded(part: str | None) -> str:
    """Undo percent-escapes. Raises `ValueError` for what is no text that PostgreSQL takes."""
    decoded = unquote(part or "", errors="strict")
    if "\0" in decoded:
        raise ValueError("NUL")
    return decoded


def _invalid(message: str) -> ConnectionInvalid:
    return ConnectionInvalid(message, param="dsn")


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Refuse what is no header, or is not an owner's to set. Raises `ValueError`."""
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("A header's name or value holds characters that no header may have.")
        if name.lower() in _NOT_YOURS:
            raise ValueError(f"The header {name.lower()} cannot be set.")
    return headers


Headers = Annotated[dict[str, str], Field(min_length=1, max_length=20), AfterValidator(check_headers)]


class PostgresSecret(Strict):
    """What is sealed of a connection to a database."""

    dsn: str


class HttpSecret(Strict):
    """What is sealed of headers for requests."""

    headers: dict[str, str]


class McpSecret(Strict):
    """What is sealed of a connection to a server of tools."""

    url: str
    headers: dict[str, str] = Field(default_factory=dict)


class CatalogueTool(Model):
    """A tool of a server, as it describes it."""

    name: str
    description: str
    parameters: dict[str, JsonValue]


class Catalogue(Model):
    """The tools of a server."""

    tools: tuple[CatalogueTool, ...] = ()
