"""Tools of an agent: what a bot's owner configures, and what that needs."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from domain.connections import ConnectionKind
from domain.errors import ToolsUnsupported, UrlInvalid
from domain.ids import BotId, ConnectionId
from domain.model import Strict
from domain.web import normalise

# What a model is given of one call, in characters; more is cut, and it is told so.
RESULT_CHARACTERS = 16_000
ARGUMENT_CHARACTERS = 16_000
CALLS_A_STEP = 8
CATALOGUE_TOOLS = 32  # of one server
# An agent asks an agent asks an agent; the last one asks nobody.
CONSULTATIONS_DEEP = 3

_ESCAPED_OFTEN = 3
_SLASH = re.compile(r"[/\\]")


def allowed_prefix(url: str) -> str:
    """Write a URL as those that are asked for are written. Raises `ValueError`."""
    try:
        return normalise(url)
    except UrlInvalid as error:
        raise ValueError(error.message) from error


def is_allowed(url: str, prefixes: Sequence[str]) -> bool:
    """Tell whether a normalised URL begins with one of these, at the edge of a part of its path."""
    return not _climbs(url) and any(
        url == prefix or url.startswith((prefix.rstrip("/") + "/", f"{prefix}?")) for prefix in prefixes
    )


def _climbs(url: str) -> bool:
    """Tell whether a server might find `..` in the path: some read escapes twice, cut parameters, turn backslashes."""
    path = urlsplit(url).path
    for _ in range(_ESCAPED_OFTEN):
        path = unquote(path)
    return any(segment.partition(";")[0] == ".." for segment in _SLASH.split(path))


class ToolType(StrEnum):
    """The kinds of tools."""

    SEARCH_DOCUMENTS = "search_documents"
    SQL_QUERY = "sql_query"
    HTTP_REQUEST = "http_request"
    ASK_BOT = "ask_bot"
    MCP = "mcp"


REPEATABLE = frozenset({ToolType.SEARCH_DOCUMENTS, ToolType.SQL_QUERY, ToolType.ASK_BOT})
"""Tools whose call changes nothing anywhere, so that it may run again where it broke off."""


class CallStatus(StrEnum):
    """What became of a tool call."""

    PLANNED = "planned"
    WAITING = "waiting"  # for a person
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    REJECTED = "rejected"  # by a person
    UNKNOWN = "unknown"  # it began, and nobody can say whether it had its effect


ENDED = frozenset({CallStatus.COMPLETE, CallStatus.FAILED, CallStatus.REJECTED, CallStatus.UNKNOWN})


class _Tool(Strict):
    name: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$", description="What the model calls it; its type by default."),
    ] = None
    description: Annotated[str, Field(max_length=1000, description="Tells the model when to use it.")] = ""
    needs_approval: Annotated[bool, Field(description="Whether each call waits until a person allows it.")] = False


class SearchDocuments(_Tool):
    """The bot's own documents. What it finds can be cited."""

    type: Literal[ToolType.SEARCH_DOCUMENTS]


class SqlQuery(_Tool):
    """A database that the owner registered: one statement a call, which can only read."""

    type: Literal[ToolType.SQL_QUERY]
    connection_id: Annotated[ConnectionId, Field(description="A connection of the kind `postgres`.")]
    max_rows: Annotated[int, Field(ge=1, le=1000, description="Rows that the model is given, at most.")] = 100
    seconds: Annotated[int, Field(ge=1, le=60, description="Time for one statement.")] = 10


class Method(StrEnum):
    """Methods of requests."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


class HttpRequest(_Tool):
    """Requests to what the owner allows. One that may change something is sent once at most."""

    type: Literal[ToolType.HTTP_REQUEST]
    allow: Annotated[
        tuple[Annotated[str, AfterValidator(allowed_prefix)], ...],
        Field(min_length=1, max_length=20, description="URLs; what begins with one of them may be asked."),
    ]
    methods: Annotated[tuple[Method, ...], Field(min_length=1, description="Methods that may be used.")] = (Method.GET,)
    connection_id: Annotated[
        ConnectionId | None, Field(description="A connection of the kind `http`: headers that each request gets.")
    ] = None
    seconds: Annotated[int, Field(ge=1, le=60, description="Time for one request.")] = 15
    max_bytes: Annotated[int, Field(ge=1000, le=1_000_000, description="Of an answer that are read.")] = 100_000


class AskBot(_Tool):
    """Another bot of the owner, an agent itself if it likes: its answer is the result."""

    type: Literal[ToolType.ASK_BOT]
    bot_id: Annotated[BotId, Field(description="The bot that is asked.")]


class Mcp(_Tool):
    """The tools of a server that speaks MCP over HTTP: the model calls each by this one's name, `__` and its own."""

    type: Literal[ToolType.MCP]
    connection_id: Annotated[ConnectionId, Field(description="A connection of the kind `mcp`.")]
    tools: Annotated[
        tuple[str, ...] | None, Field(max_length=64, description="Names of those that may be used; null: all.")
    ] = None
    seconds: Annotated[int, Field(ge=1, le=90, description="Time for one call.")] = 30


Tool = Annotated[SearchDocuments | SqlQuery | HttpRequest | AskBot | Mcp, Field(discriminator="type")]


def called(tool: Tool) -> str:
    """Give the name that the model calls a tool by."""
    return tool.name or tool.type.value


def distinct(tools: Sequence[Tool]) -> Sequence[Tool]:
    """Refuse tools that the model could not tell apart. Raises `ValueError`."""
    names = [called(tool) for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Two tools are called {name}; give each a `name` of its own.")
    return tools


def bots_of(tools: Sequence[Tool]) -> list[BotId]:
    """Name the bots that tools ask."""
    return [tool.bot_id for tool in tools if isinstance(tool, AskBot)]


def connections_of(tools: Sequence[Tool]) -> dict[ConnectionId, ConnectionKind]:
    """Name the connections that tools need, and of which kind."""
    found: dict[ConnectionId, ConnectionKind] = {}
    for tool in tools:
        if isinstance(tool, SqlQuery):
            found[tool.connection_id] = ConnectionKind.POSTGRES
        elif isinstance(tool, Mcp):
            found[tool.connection_id] = ConnectionKind.MCP
        elif isinstance(tool, HttpRequest) and tool.connection_id is not None:
            found[tool.connection_id] = ConnectionKind.HTTP
    return found


def unsupported() -> ToolsUnsupported:
    """Say that a model takes no tools."""
    return ToolsUnsupported(
        "The model of this bot takes no tools: it only quotes. Choose another model, or the agent type `rag`.",
        param="configuration.agent_type",
    )
