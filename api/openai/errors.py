"""Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` for every path below `/openai`.

The routes raise what all routes raise, and `api/errors.py` answers it; here that answer is put into the other
words on its way out, whoever gave it: a route, the router, the limit of bodies, or the last resort.
"""

import json
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import STATUS, problem
from api.openai.schemas.base import OpenAIError
from domain import messages
from domain.errors import (
    AlreadyExists,
    DomainError,
    IdempotencyKeyReused,
    InvalidRequest,
    Kind,
    NotFound,
    StateConflict,
)

PREFIX = "/openai"

# The client repeats 409, 429 and 5xx by itself, unless it is told not to.
NO_RETRY = {"x-should-retry": "false"}
# Conflicts that stay what they are, however often they are repeated.
_LASTING = frozenset({StateConflict.code, AlreadyExists.code, IdempotencyKeyReused.code})

_TYPES = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "invalid_request_error",
    Kind.CONFLICT: "conflict_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "insufficient_quota",
    Kind.PAYLOAD_TOO_LARGE: "invalid_request_error",
    Kind.UNSUPPORTED_MEDIA: "invalid_request_error",
    Kind.PROVIDER: "server_error",
    Kind.INTERNAL: "server_error",
}
_STATUSES = {422: 400, 415: 400}

_EXAMPLES = {
    400: ("The body has a field that is missing or wrong.", "messages: Field required.", "messages", "invalid_request"),
    401: ("No credential, or one that does not hold.", "The credential is wrong.", None, "invalid_credentials"),
    403: ("The credential may not do this.", "This API key lacks the scope write.", None, "permission_denied"),
    404: ("No such id, or another owner's.", "You have no bot of this id or name.", "model", "model_not_found"),
    409: ("The present state does not allow this.", "This turn has ended.", None, "invalid_state"),
    413: ("More bytes than this server takes.", "The file is too large.", "file", "payload_too_large"),
    429: ("Too much at once; `Retry-After` says when to come back.", "Wait a minute.", None, "rate_limited"),
    500: ("A fault of this server; quote the request id.", "Something went wrong.", None, "internal"),
    502: ("The model provider failed.", "The model provider does not answer.", None, "provider_unavailable"),
    503: ("A part that is needed does not answer.", "The database does not answer just now.", None, "unavailable"),
    504: ("The answer is not there yet, and is still worked on.", "Read it later.", None, "answer_pending"),
}  # fmt: skip


class ModelNotFound(NotFound):
    """No bot of the caller's has this id or name."""

    code = "model_not_found"


class ModelAmbiguous(InvalidRequest):
    """Several bots have this name."""

    code = "model_ambiguous"


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for OpenAPI; every route has 400, 401, 403, 500 and 503."""
    described: dict[int | str, dict[str, Any]] = {422: _described(400)}
    return described | {status: _described(status) for status in sorted({*statuses, 400, 401, 403, 500, 503})}


def _described(status: int) -> dict[str, Any]:
    description, message, param, code = _EXAMPLES[status]
    error = {"message": message, "type": _type_of(status), "param": param, "code": code}
    content = {"application/json": {"example": {"error": error}}}
    return {"model": OpenAIError, "description": description, "content": content}


def _type_of(status: int) -> str:
    kinds = [kind for kind, code in STATUS.items() if _STATUSES.get(code, code) == status]
    return _TYPES[kinds[0]] if kinds else "server_error"


def failed(failure: messages.Failure) -> Response:
    """Answer for a turn that failed. Its steps were tried again already: the client is told to leave it at that."""
    kind = kind_of(failure.code)
    return problem(STATUS[kind], kind, failure.code, failure.message, headers=NO_RETRY)


def failure_body(failure: messages.Failure) -> dict[str, Any]:
    """Say in a stream why a turn failed."""
    kind = kind_of(failure.code)
    return said(_TYPES[kind], failure.code, failure.message)


def said(kind: str, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Build the error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answer_deleted() -> dict[str, Any]:
    """Say in a stream that its end will not come: whoever reads it would take what was sent for the whole."""
    return said("invalid_request_error", "answer_deleted", "The answer was deleted while it was being written.")


def kind_of(code: str) -> Kind:
    """Give the kind of a failure that is known by its code only."""
    return {each.code: each.kind for each in _all_errors(DomainError)}.get(code, Kind.INTERNAL)


def _all_errors(base: type[DomainError]) -> Iterator[type[DomainError]]:
    for each in base.__subclasses__():
        yield each
        yield from _all_errors(each)


class OpenAIErrors:
    """Puts the error answers of the paths below `/openai` into OpenAI's words; lets everything else pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Translation(send).take)


class _Translation:
    """One answer on its way out: the body of a failure is held until it is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = bytes(self._body)
        if Headers(raw=start["headers"]).get("content-type", "").startswith("application/json"):
            translated = _translated(json.loads(body))
            body = json.dumps(translated).encode()
            MutableHeaders(scope=start)["content-length"] = str(len(body))
            start = {**start, "status": _STATUSES.get(start["status"], start["status"])}
            if translated["error"]["code"] in _LASTING:
                MutableHeaders(scope=start).update(NO_RETRY)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _translated(body: dict[str, Any]) -> dict[str, Any]:
    error = body["error"]
    return said(_TYPES[Kind(error["type"])], error["code"], error["message"], error["param"])
