"""Keyset paging: a page starts after a position, so that inserts do not shift it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Select, Uuid, tuple_


class Order(StrEnum):
    """Direction of a list; `desc` is newest first."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Window:
    """One page: `limit` rows, after the row that `after` names by its key columns."""

    limit: int
    order: Order = Order.DESC
    after: tuple[str, ...] | None = None


def keyset(statement: Select[Any], columns: Sequence[Column[Any]], window: Window) -> Select[Any]:
    """Order by `columns`, start after the window's position, and fetch one row more than the page holds."""
    if window.after is not None:
        position = [_typed(column, text) for column, text in zip(columns, window.after, strict=True)]
        key = tuple_(*columns)
        edge = tuple_(*position)
        statement = statement.where(key > edge if window.order is Order.ASC else key < edge)
    ordered = [column.asc() if window.order is Order.ASC else column.desc() for column in columns]
    return statement.order_by(*ordered).limit(window.limit + 1)


def _typed(column: Column[Any], text: str) -> object:
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(text)
    if isinstance(column.type, Uuid):
        return UUID(text)
    if isinstance(column.type, Integer):
        return int(text)
    return text
