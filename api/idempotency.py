"""`Idempotency-Key` on every POST: the same key and body answers what the first answered.

In a route: `await once.claim(connection, owner)` first in the transaction of the effect, and
`await once.keep(connection, owner, 201, answer)` last. A repeated request leaves `claim` by the
exception `Replay`, which becomes the first answer. A message uses `claim_turn` instead: its answer
is rendered from the turn. Without the header all three do nothing.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Annotated, TypeVar

from cryptography.fernet import Fernet
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import idempotency
from api.errors import handle
from domain.ids import TurnId, UserId

REPLAYED = "Idempotent-Replayed"
AnswerT = TypeVar("AnswerT", bound=BaseModel | None)


class Replay(Exception):
    """The request was answered before; carries that answer."""

    def __init__(self, status: int, body: str | None, headers: Mapping[str, str]) -> None:
        super().__init__("replay")
        self.status = status
        self.body = body
        self.headers = headers


class Once:
    """One request's claim to its key."""

    def __init__(self, key: str | None, request: bytes, secret: bytes) -> None:
        self.key = key
        self._request = request
        self._hash = hashlib.sha256((key or "").encode()).digest()
        derived = hmac.digest(secret, b"idempotency" + (key or "").encode(), "sha256")
        self._cipher = Fernet(base64.urlsafe_b64encode(derived))

    def _fingerprint(self, content: bytes) -> bytes:
        return hashlib.sha256(self._request + content).digest()

    async def claim(self, connection: AsyncConnection, owner: UserId | None, *, content: bytes = b"") -> None:
        """Raise `Replay` where this was answered before; `content` stands for a body that was streamed away."""
        if self.key is None:
            return
        earlier = await idempotency.claim(connection, _scope(owner), self._hash, self._fingerprint(content))
        if earlier is not None and earlier.response is not None:
            stored = json.loads(self._cipher.decrypt(earlier.response))
            raise Replay(stored["status"], stored["body"], stored["headers"])

    async def keep(
        self,
        connection: AsyncConnection,
        owner: UserId | None,
        status: int,
        answer: AnswerT,
        headers: Mapping[str, str] | None = None,
    ) -> AnswerT:
        """Store the answer, encrypted under the key itself, which is not stored; give it back."""
        if self.key is not None:
            body = None if answer is None else answer.model_dump_json()
            stored = json.dumps({"status": status, "body": body, "headers": dict(headers or {})})
            await idempotency.keep(connection, _scope(owner), self._hash, self._cipher.encrypt(stored.encode()))
        return answer

    async def claim_turn(self, connection: AsyncConnection, owner: UserId, turn_id: TurnId) -> TurnId | None:
        """Bind the key to a turn; give the turn that it is bound to already, if any."""
        if self.key is None:
            return None
        fingerprint = self._fingerprint(b"")
        earlier = await idempotency.claim(connection, _scope(owner), self._hash, fingerprint, turn_id=turn_id)
        return None if earlier is None else earlier.turn_id


def _scope(owner: UserId | None) -> str:
    return "public" if owner is None else str(owner)


async def _once(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Repeat a request under the same key to get the first answer again.",
        ),
    ] = None,
) -> Once:
    multipart = request.headers.get("content-type", "").startswith("multipart/")
    body = b"" if multipart or key is None else await _body(request)
    line = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    secret = request.app.state.settings.secret_key.get_secret_value().encode()
    return Once(key, line + body, secret)


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        # The form parser has consumed the stream.
        return json.dumps(sorted((await request.form()).multi_items()), default=str).encode()
    return await request.body()


OnceDep = Annotated[Once, Depends(_once)]


async def _on_replay(_: Request, replay: Replay) -> Response:
    headers = {**replay.headers, REPLAYED: "true"}
    media_type = None if replay.body is None else "application/json"
    return Response(replay.body, status_code=replay.status, headers=headers, media_type=media_type)


def install(app: FastAPI) -> None:
    """Let `Replay` become the first answer."""
    handle(app, Replay, _on_replay)
