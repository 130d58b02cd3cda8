"""One id a request: taken from the caller if sane, else minted; on every answer and log line."""

import re
from contextvars import ContextVar
from http import HTTPStatus
from time import perf_counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.ids import new_id

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default="")

log = structlog.get_logger(__name__)


def current_request_id() -> str:
    """Give the id of the request that is served."""
    return _current.get()


class RequestId:
    """Outermost middleware: binds the id, writes the access line, answers what nobody handled with 500."""

    def __init__(self, app: ASGIApp, internal_error: ASGIApp) -> None:
        self._app = app
        self._internal_error = internal_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SANE.fullmatch(given) else new_id().hex
        _current.set(request_id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        started = perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request_failed", method=scope["method"])
                if status:  # the answer is on its way: all that is left is to break it off
                    raise
                await self._internal_error(scope, receive, send_with_id)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    route=route_template(scope),
                    status=status or HTTPStatus.INTERNAL_SERVER_ERROR,
                    milliseconds=round((perf_counter() - started) * 1000, 1),
                )


def route_template(scope: Scope) -> str:
    """Name the route without its ids, so that metrics and logs stay few."""
    if scope.get("route") is None:
        return "unmatched"
    named = {str(value): f"{{{name}}}" for name, value in scope.get("path_params", {}).items()}
    return "/".join(named.get(part, part) for part in scope["path"].split("/"))
