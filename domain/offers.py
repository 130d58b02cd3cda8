"""Offers of tools to a model: what it is told, what it may ask, and what it is told.

Only a model's structured call runs a tool; the text of a passage or of a result never does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from domain.connections import Catalogue, CatalogueTool
from domain.ids import ConnectionId
from domain.model import Strict
from domain.ports import ToolSpec
from domain.tools import REPEATABLE, RESULT_CHARACTERS, HttpRequest, Mcp, Method, Tool, ToolType, called

_LONGEST_NAME = 64
_ODD = re.compile(r"[^A-Za-z0-9_]")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip
NO_CATALOGUES: Mapping[ConnectionId, Catalogue] = {}

# Arguments


class SearchArguments(Strict):
    """What the model asks of `search_documents`."""

    query: Annotated[
        str, Field(min_length=1, max_length=2000, description="What to look for, as a question or as keywords.")
    ]


class SqlArguments(Strict):
    """What the model asks of `sql_query`."""

    statement: Annotated[
        str,
        Field(
            min_length=1,
            max_length=10_000,
            description="One PostgreSQL statement that reads. The tables are in information_schema.columns.",
        ),
    ]


class HttpArguments(Strict):
    """What the model asks of `http_request`."""

    url: Annotated[str, Field(min_length=1, max_length=2000, description="The whole URL.")]
    method: Annotated[Method, Field(description="The method; GET by default.")] = Method.GET
    body: Annotated[str, Field(max_length=15_000, description="What is sent with it.")] = ""
    content_type: Annotated[
        str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$", max_length=100, description="What the body is.")
    ] = "application/json"


class AskArguments(Strict):
    """What the model asks of `ask_bot`."""

    question: Annotated[
        str,
        Field(
            min_length=1, max_length=8000, description="The whole question: the other one knows nothing of this talk."
        ),
    ]


class McpArguments(Strict):
    """What the model asks of a server's tool."""

    name: str
    arguments: dict[str, JsonValue]


Arguments = SearchArguments | SqlArguments | HttpArguments | AskArguments | McpArguments

_ARGUMENTS: dict[ToolType, type[Arguments]] = {
    ToolType.SEARCH_DOCUMENTS: SearchArguments,
    ToolType.SQL_QUERY: SqlArguments,
    ToolType.HTTP_REQUEST: HttpArguments,
    ToolType.ASK_BOT: AskArguments,
}
_PURPOSES: dict[ToolType, str] = {
    ToolType.SQL_QUERY: "Run one SQL statement that reads on a PostgreSQL database. Answers rows as JSON.",
    ToolType.HTTP_REQUEST: "Send an HTTP request.",
    ToolType.ASK_BOT: "Ask another assistant, which has documents and tools of its own.",
    ToolType.SEARCH_DOCUMENTS: "Search the documents. Answers numbered passages, which the answer cites by number.",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as the model is offered it; `remote` is its name at the server that has it."""

    spec: ToolSpec
    tool: Tool
    remote: str = ""


def of(configured: Sequence[Tool], catalogues: Mapping[ConnectionId, Catalogue] = NO_CATALOGUES) -> list[Offer]:
    """Give what the model may call; of a server's tools those that are allowed and known."""
    found: dict[str, Offer] = {}
    for tool in configured:
        made = _of_server(tool, catalogues) if isinstance(tool, Mcp) else [Offer(_specification(tool), tool)]
        for offer in made:
            found.setdefault(offer.spec.name, offer)
    return list(found.values())


def _of_server(tool: Mcp, catalogues: Mapping[ConnectionId, Catalogue]) -> list[Offer]:
    known = catalogues.get(tool.connection_id, Catalogue()).tools
    return [_remote(tool, each) for each in known if tool.tools is None or each.name in tool.tools]


def _remote(tool: Mcp, remote: CatalogueTool) -> Offer:
    name = f"{called(tool)}__{_ODD.sub('_', remote.name)}"[:_LONGEST_NAME]
    schema = {"type": "object", **remote.parameters}
    return Offer(ToolSpec(name, tool.description, schema, foreign=remote.description), tool, remote.name)


def _specification(tool: Tool) -> ToolSpec:
    purpose = _PURPOSES[tool.type]
    limits = ""
    if isinstance(tool, HttpRequest):
        limits = f"URLs must begin with one of: {' '.join(tool.allow)}. Methods: {', '.join(tool.methods)}."
    description = " ".join(part for part in (purpose, limits, tool.description) if part)
    return ToolSpec(name=called(tool), description=description, parameters=_schema(_ARGUMENTS[tool.type]))


def _schema(arguments: type[Strict]) -> Mapping[str, JsonValue]:
    schema: dict[str, JsonValue] = arguments.model_json_schema()
    return {"type": "object", **{key: schema[key] for key in ("properties", "required", "$defs") if key in schema}}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not run, said to the model."""

    message: str


def find(offered: Sequence[Offer], name: str) -> Offer | None:
    """Find the tool that the model means."""
    return next((offer for offer in offered if offer.spec.name == name), None)


def read_arguments(offer: Offer, given: Mapping[str, JsonValue]) -> Arguments | Refusal:
    """Check what the model asks for against the tool's schema."""
    if isinstance(offer.tool, Mcp):
        wrong = "; ".join(_misfits(offer.spec.parameters, given))
        return _misfit(offer, wrong) if wrong else McpArguments(name=offer.remote, arguments=dict(given))
    try:
        return _ARGUMENTS[offer.tool.type].model_validate(dict(given))
    except ValidationError as error:
        return _misfit(
            offer, "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        )


def _misfit(offer: Offer, wrong: str) -> Refusal:
    return Refusal(f"The arguments of {offer.spec.name} do not fit its schema: {wrong}. Call it again with others.")


def _misfits(schema: Mapping[str, JsonValue], given: Mapping[str, JsonValue]) -> Iterator[str]:
    """Name what a server need not be asked for: it checks the rest itself, and whatever its patterns take."""
    required, properties = schema.get("required"), schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    for name in required if isinstance(required, list) else []:
        if name not in given:
            yield f"{name}: missing"
    for name, value in given.items():
        described = known.get(name)
        if described is None and schema.get("additionalProperties") is False:
            yield f"{name[:60]}: not known"
        kind = described.get("type") if isinstance(described, dict) else None
        if isinstance(kind, str) and kind in _KINDS and not _is_of(value, kind):
            yield f"{name[:60]}: must be of the type {kind}"


def _is_of(value: JsonValue, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])


def unknown_tool(offered: Sequence[Offer], name: str) -> Refusal:
    """Say which tools there are."""
    names = ", ".join(offer.spec.name for offer in offered)
    return Refusal(f"There is no tool {name[:60]}. The tools are: {names}.")


def cut(text: str) -> str:
    """Keep what a model is given of one result."""
    if len(text) <= RESULT_CHARACTERS:
        return text
    return f"{text[:RESULT_CHARACTERS]}\n(cut: {len(text) - RESULT_CHARACTERS} more characters)"


def is_repeatable(tool: Tool, arguments: Arguments) -> bool:
    """Tell whether a call may run again where nobody knows how far it came."""
    reads = isinstance(arguments, HttpArguments) and arguments.method in (Method.GET, Method.HEAD)
    return reads or tool.type in REPEATABLE
