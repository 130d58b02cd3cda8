"""Filters of OpenAI's vector stores, put as filters of documents."""

from collections.abc import Mapping

from pydantic import ValidationError

from domain.errors import InvalidRequest
from domain.filters import DocumentFilter

_BOUNDS = ("gt", "gte", "lt", "lte")
_MOST_DEEP = 8


def read_filter(given: Mapping[str, object] | None) -> DocumentFilter:
    """Read comparisons that are joined by `and`. Raises `InvalidRequest` for what documents are not filtered by."""
    conditions: dict[str, object] = {}
    for key, kind, value in _comparisons(given, 0) if given else []:
        present = conditions.get(key)
        if kind in _BOUNDS and isinstance(present, dict) and kind not in present:
            present[kind] = value
        elif present is not None:
            raise _refused(f"`{key}` is compared twice")
        else:
            conditions[key] = {kind: value} if kind in _BOUNDS else value
    try:
        return DocumentFilter.model_validate({"metadata": conditions})
    except ValidationError as error:
        raise _refused(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


def _comparisons(given: object, depth: int) -> list[tuple[str, str, object]]:
    if not isinstance(given, Mapping) or depth > _MOST_DEEP:
        raise _refused("a filter is an object")
    kind, key = given.get("type"), given.get("key")
    if kind == "and" and isinstance(given.get("filters"), list):
        parts: list[object] = list(given["filters"])
        return [each for part in parts for each in _comparisons(part, depth + 1)]
    if kind in ("eq", "in", *_BOUNDS) and isinstance(key, str):
        return [(key, str(kind), given.get("value"))]
    raise _refused("it has a part of another kind")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The filter cannot be read: {why}. Send comparisons by eq, in, gt, gte, lt, lte, joined by `and`.",
        param="filters",
    )
