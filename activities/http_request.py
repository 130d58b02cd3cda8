"""The tool `http_request`: what the owner allows is asked; what may change something is sent once at most."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.tool_calls import ToolCalls
from adapters.postgres import connections
from adapters.postgres.tool_calls import UNKNOWN, Outcome
from adapters.sealing import Sealer
from adapters.tools.http import Answer, HttpCaller, NotSent
from domain import offers, steps, tools
from domain.connections import ConnectionKind, HttpSecret
from domain.errors import DomainError, FetchFailed, UrlInvalid, UrlRefused
from domain.offers import Arguments, HttpArguments, cut
from domain.steps import CallEnded, CallRef, TurnRef
from domain.storing import storable
from domain.tools import CallStatus, HttpRequest, Tool
from domain.web import normalise


class HttpRequests:
    """Sends requests with the headers of the owner's connection, which the model never sees."""

    def __init__(self, engine: AsyncEngine, caller: HttpCaller, sealer: Sealer) -> None:
        self._engine = engine
        self._caller = caller
        self._sealer = sealer
        self._calls = ToolCalls(engine)

    @activity.defn(name=steps.HTTP_REQUEST.name)
    async def http_request(self, at: CallRef) -> CallEnded:
        """Send what the model asks for, where that is allowed."""
        return await self._calls.run(at, partial(self._perform, at.ref))

    async def _perform(self, ref: TurnRef, tool: Tool, arguments: Arguments) -> Outcome:
        assert isinstance(tool, HttpRequest)  # noqa: S101  (of this step)
        assert isinstance(arguments, HttpArguments)  # noqa: S101  (of this tool)
        try:
            url = _allowed(tool, arguments)
            headers = await self._headers(ref, tool)
        except DomainError as error:
            return Outcome(CallStatus.FAILED, error.message, code=error.code)
        return await self._send(tool, arguments, url, headers)

    async def _headers(self, ref: TurnRef, tool: HttpRequest) -> dict[str, str]:
        if tool.connection_id is None:
            return {}
        async with self._engine.connect() as connection:
            sealed = await connections.sealed(connection, ref.owner_id, tool.connection_id, ConnectionKind.HTTP)
        return HttpSecret.model_validate_json(self._sealer.open(sealed)).headers

    async def _send(self, tool: HttpRequest, asked: HttpArguments, url: str, headers: dict[str, str]) -> Outcome:
        body = asked.body.encode()
        if body:
            headers = {"Content-Type": asked.content_type} | headers
        try:
            answer = await self._caller.send(
                asked.method, url, headers=headers, body=body, max_bytes=tool.max_bytes, seconds=tool.seconds
            )
        except NotSent as error:
            return Outcome(CallStatus.FAILED, f"{error} Nothing was sent.", code="url_unreachable")
        except UrlRefused as error:
            return Outcome(CallStatus.FAILED, error.message, code=error.code)
        except FetchFailed as error:
            if offers.is_repeatable(tool, asked):
                return Outcome(CallStatus.FAILED, error.message, code=error.code)
            return Outcome(CallStatus.UNKNOWN, f"{error.message} {UNKNOWN}", code="tool_outcome_unknown")
        return Outcome(CallStatus.COMPLETE, cut(_told(answer)))


def _allowed(tool: HttpRequest, asked: HttpArguments) -> str:
    """Give the URL as it is asked for. Raises `UrlInvalid`, `UrlRefused`."""
    if asked.method not in tool.methods:
        raise UrlInvalid(f"The method {asked.method} may not be used; these may: {', '.join(tool.methods)}.")
    url = normalise(asked.url)
    if not tools.is_allowed(url, tool.allow):
        raise UrlRefused(f"This URL is not allowed. Allowed is what begins with: {' '.join(tool.allow)}")
    return url


def _told(answer: Answer) -> str:
    lines = [f"HTTP {answer.status}"]
    if answer.content_type:
        lines.append(f"content-type: {answer.content_type}")
    if answer.location:
        lines.append(f"location: {answer.location[:2000]} (redirects are not followed)")
    more = "\n(cut: the answer is longer)" if answer.cut else ""
    return storable("\n".join([*lines, "", answer.text]) + more)
