"""Every failure leaves as the one error body; kinds become statuses here and nowhere else."""

import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import exc
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ExceptionHandler
from temporalio.service import RPCError, RPCStatusCode

from api.faults import field_of, message_of
from api.request_id import current_request_id
from api.schemas.base import ErrorBody
from domain.errors import DomainError, Kind, Unavailable

log = structlog.get_logger(__name__)

ErrorT = TypeVar("ErrorT", bound=Exception)

STATUS: dict[Kind, int] = {
    Kind.INVALID_REQUEST: 422,
    Kind.AUTHENTICATION: 401,
    Kind.PERMISSION: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.RATE_LIMIT: 429,
    Kind.QUOTA: 429,
    Kind.PAYLOAD_TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA: 415,
    Kind.PROVIDER: 502,
    Kind.INTERNAL: 500,
}

# What Starlette and FastAPI raise by status alone.
_PLAIN: dict[int, tuple[Kind, str, str]] = {
    400: (Kind.INVALID_REQUEST, "invalid_body", "The body cannot be read; send valid JSON in UTF-8."),
    401: (Kind.AUTHENTICATION, "invalid_credentials", "Send a valid access token or API key as a Bearer token."),
    403: (Kind.PERMISSION, "permission_denied", "This credential may not do this."),
    404: (Kind.NOT_FOUND, "not_found", "There is nothing at this path; see /docs for those that are."),
    405: (Kind.INVALID_REQUEST, "method_not_allowed", "This path does not take this method; see the Allow header."),
    413: (Kind.PAYLOAD_TOO_LARGE, "payload_too_large", "The body is larger than this server takes."),
}

_RETRY_SECONDS = 5

# SQLSTATEs that say "not now": classes 08 and 53, then cancelled, shutdowns, locked, deadlock.
_BUSY_CLASSES = ("08", "53")
_BUSY_STATES = frozenset({"57014", "57P01", "57P02", "57P03", "55P03", "40P01", "40001"})
_UNREACHABLE = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
    }
)

_DESCRIPTIONS = {
    400: "The body is not JSON.",
    401: "No credential, or one that does not hold.",
    403: "The credential may not do this.",
    404: "No such id, or another owner's.",
    409: "The present state does not allow this.",
    413: "More bytes than this server takes.",
    415: "A format that is not read.",
    422: "A field is missing or wrong.",
    429: "Too much at once; `Retry-After` says when to come back.",
    500: "A fault of this server; quote the request id.",
    502: "The model provider failed.",
    503: "A part that is needed does not answer; `Retry-After` says when to come back.",
}


_EXAMPLES: dict[int, tuple[Kind, str, str]] = {
    400: (Kind.INVALID_REQUEST, "invalid_json", "The body is not valid JSON."),
    401: (Kind.AUTHENTICATION, "token_expired", "The access token has expired. Refresh it, or log in again."),
    403: (Kind.PERMISSION, "permission_denied", "This API key lacks the scope write."),
    404: (Kind.NOT_FOUND, "not_found", "You have no document of this id."),
    409: (Kind.CONFLICT, "invalid_state", "This turn has ended; there is nothing left to stop."),
    413: (
        Kind.PAYLOAD_TOO_LARGE,
        "payload_too_large",
        "The file is larger than 52428800 bytes, the most that is taken.",
    ),
    415: (Kind.UNSUPPORTED_MEDIA, "unsupported_format", "The file is a ZIP or Office file, which is not read."),
    422: (Kind.INVALID_REQUEST, "invalid_request", "name: Field required."),
    429: (Kind.RATE_LIMIT, "rate_limited", "Too many requests. Wait a minute."),
    500: (Kind.INTERNAL, "internal", "Something went wrong on the server. Report the request id."),
    502: (Kind.PROVIDER, "provider_unavailable", "The model provider does not answer. Try again."),
    503: (Kind.INTERNAL, "unavailable", "The database does not answer just now. Try again in a few seconds."),
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for OpenAPI; every route has 422, 500 and 503."""
    wanted = sorted({*statuses, 422, 500, 503})
    return {
        status: {
            "model": ErrorBody,
            "description": _DESCRIPTIONS[status],
            "content": {"application/json": {"example": _example(status)}},
        }
        for status in wanted
    }


def _example(status: int) -> dict[str, Any]:
    kind, code, message = _EXAMPLES[status]
    param = "name" if status == 422 else None
    said = {"type": kind.value, "code": code, "message": message, "param": param}
    return {"error": {**said, "request_id": "0199f0c4b8e97b6c8a516d2f0e9c7b11", "details": None}}


def problem(
    status: int,
    kind: Kind,
    code: str,
    message: str,
    *,
    param: str | None = None,
    details: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the error body.

    A 429 or 503 says when to come back. A 413 leaves the connection open: closing it resets the client, which then
    never sees the answer (tried).
    """
    body: dict[str, object] = {
        "type": kind,
        "code": code,
        "message": message,
        "param": param,
        "request_id": current_request_id(),
    }
    if details:
        body["details"] = dict(details)
    sent = dict(headers or {})
    if status in (429, 503):
        sent.setdefault("Retry-After", str(_RETRY_SECONDS))
    return JSONResponse({"error": body}, status_code=status, headers=sent)


def domain_problem(error: DomainError) -> JSONResponse:
    """Turn a domain error into its answer."""
    status = 503 if isinstance(error, Unavailable) else STATUS[error.kind]
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after.total_seconds())))
    return problem(
        status, error.kind, error.code, error.message, param=error.param, details=error.details, headers=headers
    )


def internal_problem() -> JSONResponse:
    """Answer for a fault of our own: no word of what it was."""
    return problem(
        500,
        Kind.INTERNAL,
        "internal",
        "Something went wrong on the server. Try again; if it stays, report the request id.",
    )


def unavailable(part: str) -> Unavailable:
    """Name a part that does not answer."""
    return Unavailable(f"The {part} does not answer just now. Nothing was changed; try again in a few seconds.")


def is_busy(error: exc.DBAPIError) -> bool:
    """Tell a database that is away or overloaded from a statement that is wrong."""
    if error.connection_invalidated or isinstance(error, exc.InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None) or ""
    return state in _BUSY_STATES or state.startswith(_BUSY_CLASSES)


def is_unreachable(error: RPCError) -> bool:
    """Tell a Temporal server that is away from one that refuses."""
    return error.status in _UNREACHABLE


async def _on_domain(_: Request, error: DomainError) -> Response:
    return domain_problem(error)


async def _on_validation(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, Kind.INVALID_REQUEST, "invalid_json", "The body is not valid JSON.")
    if first["loc"] == ("body",) and first["type"] in ("model_attributes_type", "dict_type"):
        text = "The body must be a JSON object, sent with Content-Type: application/json."
        return problem(422, Kind.INVALID_REQUEST, "invalid_request", text)
    param, message = field_of(first, error.body), message_of(first)
    more = len({field_of(each, error.body) for each in error.errors()}) - 1
    also = f" ({more} more field{'s' if more > 1 else ''} at fault.)" if more else ""
    text = f"{param}: {message}.{also}" if param else f"{message}.{also}"
    code = "not_supported" if first["type"] == "not_supported" else "invalid_request"
    return problem(422, Kind.INVALID_REQUEST, code, text, param=param)


async def _on_plain(_: Request, error: HTTPException) -> Response:
    kind, code, message = _PLAIN.get(error.status_code, (Kind.INVALID_REQUEST, "invalid_request", str(error.detail)))
    return problem(error.status_code, kind, code, message, headers=error.headers)


async def _on_database(_: Request, error: Exception) -> Response:
    if isinstance(error, exc.DBAPIError) and not is_busy(error):
        log.error("statement_failed", error=type(error.orig).__name__, exc_info=error)
        return internal_problem()
    log.warning("database_unavailable", error=type(error).__name__)
    return domain_problem(unavailable("database"))


async def _on_temporal(_: Request, error: RPCError) -> Response:
    if not is_unreachable(error):
        log.error("temporal_refused", status=str(error.status), exc_info=error)
        return internal_problem()
    log.warning("temporal_unavailable", status=str(error.status))
    return domain_problem(unavailable("workflow engine"))


async def _on_disconnect(_: Request, __: ClientDisconnect) -> Response:
    log.info("client_left_while_sending")
    return problem(400, Kind.INVALID_REQUEST, "incomplete_body", "The body ended too early.")


def install(app: FastAPI) -> None:
    """Register the handlers. What none of them takes, `api/request_id.py` answers with 500."""
    handle(app, DomainError, _on_domain)
    handle(app, RequestValidationError, _on_validation)
    handle(app, HTTPException, _on_plain)
    handle(app, RPCError, _on_temporal)
    handle(app, ClientDisconnect, _on_disconnect)
    for error in (
        exc.DBAPIError,
        exc.TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError,
        ConnectionError,
        TimeoutError,
    ):
        handle(app, error, _on_database)


def handle(
    app: FastAPI, error: type[ErrorT], handler: Callable[[Request, ErrorT], Coroutine[Any, Any, Response]]
) -> None:
    """Register a handler of one class of errors."""
    app.add_exception_handler(error, cast(ExceptionHandler, handler))
