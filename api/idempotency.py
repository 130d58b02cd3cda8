"""`Idempotency-Key` on every POST: the same key and body answers what the first answered.

In a route: `await once.claim(connection, owner)` first in the transaction of the effect, and
`await once.keep(connection, owner, 201, answer)` last. A repeated request leaves `claim` by the
exception `Replay`, which becomes the first answer. A message uses `claim_turn` instead: its answer
is rendered from the turn. Without the header all of them do nothing.

Where the effect is no transaction of ours, the key is claimed in one transaction and the answer kept
in a later one. Until then a twin, or the same client after a crash, goes the same way again: `claim`
tells it so, `effect_id` names the effect so that it happens once, and the first answer that is kept
is everyone's.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

from cryptography.fernet import Fernet
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
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

    @property
    def made(self) -> UUID:
        """Give the id of what the request made, which its answer shows."""
        return UUID(json.loads(self.body or "{}")["id"])


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

    async def claim(self, connection: AsyncConnection, owner: UserId | None, *, content: bytes = b"") -> bool:
        """Raise `Replay` where this was answered before; `content` stands for a body that was streamed away.

        False where it was begun before, and may have had its effect.
        """
        if self.key is None:
            return True
        earlier = await idempotency.claim(connection, _scope(owner), self._hash, self._fingerprint(content))
        if earlier is not None and earlier.response is not None:
            raise self._replay(earlier.response)
        return earlier is None

    def effect_id(self, owner: UserId) -> UUID:
        """Name what this request does in another system: the same request under the same key, the same name."""
        if self.key is None:
            return new_id()
        name = hashlib.sha256(_scope(owner).encode() + self._hash + self._fingerprint(b"")).digest()
        return UUID(bytes=name[:16])

    async def release(self, connection: AsyncConnection, owner: UserId | None) -> None:
        """Leave the key free, since the request failed."""
        if self.key is not None:
            await idempotency.release(connection, _scope(owner), self._hash)

    def _replay(self, response: bytes) -> Replay:
        stored = json.loads(self._cipher.decrypt(response))
        return Replay(stored["status"], stored["body"], stored["headers"])

    async def keep(
        self,
        connection: AsyncConnection,
        owner: UserId | None,
        status: int,
        answer: AnswerT,
        headers: Mapping[str, str] | None = None,
    ) -> AnswerT:
        """Store the answer, encrypted under the key itself, which is not stored; give it back.

        Raises `Replay` where a twin was faster.
        """
        if self.key is not None:
            sealed = self._sealed(status, answer, headers or {})
            first = await idempotency.keep(connection, _scope(owner), self._hash, sealed)
            if first is not None:
                raise self._replay(first)
        return answer

    async def recall(self, connection: AsyncConnection, owner: UserId, *, since: datetime) -> Replay | None:
        """Give the answer that `leave` kept since then."""
        latest = await idempotency.left(connection, _scope(owner), self._hash, since=since)
        return None if latest is None else self._replay(latest)

    async def leave(self, connection: AsyncConnection, owner: UserId, status: int, answer: BaseModel) -> None:
        """Keep an answer in the place of the one before, for `recall`. Last in the transaction: others wait for its end."""
        sealed = self._sealed(status, answer, {})
        await idempotency.leave(connection, _scope(owner), self._hash, self._fingerprint(b""), sealed)

    def _sealed(self, status: int, answer: BaseModel | None, headers: Mapping[str, str]) -> bytes:
        body = None if answer is None else answer.model_dump_json()
        stored = json.dumps({"status": status, "body": body, "headers": dict(headers)})
        return self._cipher.encrypt(stored.encode())

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
    return Once(key, line_of(request) + (b"" if key is None else await body_of(request)), secret_of(request))


def line_of(request: Request) -> bytes:
    """Give what tells a request from others but for its body."""
    return f"{request.method} {request.url.path}?{request.url.query}\n".encode()


def secret_of(request: Request) -> bytes:
    """Give what answers are sealed with."""
    secret: str = request.app.state.settings.secret_key.get_secret_value()
    return secret.encode()


async def body_of(request: Request) -> bytes:
    """Give a request's body; nothing of one that is streamed away."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        return b""
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
