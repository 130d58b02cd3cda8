"""Cursors that only the list that gave them out takes back."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from adapters.postgres.paging import Order, Window
from api.schemas.base import ListOf
from domain.errors import InvalidCursor

RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")

_MAC_BYTES = 12


class Listing:
    """One list's page request. `of(...)` binds it to the list: its kind, its owner, its filters."""

    def __init__(self, secret: bytes, limit: int, after: str | None, order: Order) -> None:
        self._secret = secret
        self._limit = limit
        self._after = after
        self._order = order

    def of(self, kind: str, *scope: object) -> "BoundListing":
        """Name the list. The same arguments on the next page, or its cursor is refused."""
        text = json.dumps([kind, self._order, *[str(part) for part in scope]])
        context = hashlib.sha256(text.encode()).digest()
        after = None if self._after is None else _open(self._secret, context, self._after)
        return BoundListing(self._secret, context, Window(limit=self._limit, order=self._order, after=after))


class BoundListing:
    """A page request whose cursor holds."""

    def __init__(self, secret: bytes, context: bytes, window: Window) -> None:
        self._secret = secret
        self._context = context
        self.window = window

    def page(
        self, rows: Sequence[RowT], *, key: Callable[[RowT], tuple[object, ...]], render: Callable[[RowT], ItemT]
    ) -> ListOf[ItemT]:
        """Make the answer of `window.limit + 1` rows at most; `key` gives the values that the list is ordered by."""
        shown = rows[: self.window.limit]
        more = len(rows) > len(shown)
        following = _seal(self._secret, self._context, key(shown[-1])) if more else None
        return ListOf[ItemT](data=[render(row) for row in shown], has_more=more, next=following)


def _seal(secret: bytes, context: bytes, position: tuple[object, ...]) -> str:
    values = [part.isoformat() if isinstance(part, datetime) else str(part) for part in position]
    payload = json.dumps(values, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_mac(secret, context, payload) + payload).decode().rstrip("=")


def _open(secret: bytes, context: bytes, cursor: str) -> tuple[str, ...]:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raw = b""
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(secret, context, payload)):
        raise InvalidCursor(
            "This cursor is not from this list. Pass `next` of the page before, with the same order and filters.",
            param="after",
        )
    return tuple(json.loads(payload))


def _mac(secret: bytes, context: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, b"cursor" + context + payload, "sha256")[:_MAC_BYTES]


def _listing(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="Items a page.")] = 20,
    after: Annotated[str | None, Query(max_length=500, description="`next` of the page before.")] = None,
    order: Annotated[Order, Query(description="By time of creation; `desc` is newest first.")] = Order.DESC,
) -> Listing:
    secret = request.app.state.settings.secret_key.get_secret_value().encode()
    return Listing(secret, limit, after, order)


ListingDep = Annotated[Listing, Depends(_listing)]
