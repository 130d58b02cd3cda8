"""What a validation error says to a client, and which field it names: one that the client sent or left out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Fault = Mapping[str, Any]
"""One error as pydantic and FastAPI list them."""

_TAG = re.compile(r"'([^']*)'")


def field_of(fault: Fault, body: object) -> str | None:
    """Give the path to the field at fault, without the member of a union, which pydantic puts into it; none for all."""
    place, *path = fault["loc"]
    context = fault.get("ctx", {})
    if place == "body" and body is not None:
        left_out = path[-1:] if fault["type"] == "missing" else []
        path = [*_sent(path, body), *left_out]
    inside = [context["param"]] if context.get("param") else _TAG.findall(context.get("discriminator", ""))
    return ".".join(map(str, [*path, *inside])) or None


def message_of(fault: Fault) -> str:
    """Say what is wrong in a client's words, which have no classes of Python in them."""
    if fault["type"] == "union_tag_not_found":
        return "Field required"
    if fault["type"] == "union_tag_invalid":
        return f"Input should be one of: {', '.join(_TAG.findall(fault['ctx']['expected_tags']))}"
    return str(fault["msg"]).removeprefix("Value error, ").rstrip(".")


def _sent(path: Sequence[str | int], value: Any) -> Iterator[str | int]:
    """Follow a path through what was sent; what is not there, nobody sent."""
    for part in path:
        is_key = isinstance(value, Mapping) and part in value
        if is_key or (isinstance(value, list) and isinstance(part, int)):
            yield part
            value = value[part]
