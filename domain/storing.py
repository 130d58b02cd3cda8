"""What a stranger says, as Postgres can store it in its text and JSON."""

import math

from pydantic import JsonValue

DEEPEST = 32
"""Lists and objects inside each other, at most; what reads JSON gives up at some depth."""


def storable(text: str) -> str:
    """Leave out what Postgres does not store: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")


def is_storable(text: str) -> bool:
    """Tell whether Postgres stores it as it is."""
    return storable(text) == text


def storable_json(value: JsonValue, *, depth: int = DEEPEST) -> JsonValue:
    """Do the same inside of JSON. Raises `ValueError` for what is no JSON (`NaN`) and what is nested too deep."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that JSON does not have")
    if isinstance(value, list | dict) and not depth:
        raise ValueError("lists and objects inside each other too often")
    if isinstance(value, list):
        return [storable_json(each, depth=depth - 1) for each in value]
    if isinstance(value, dict):
        return {storable(key): storable_json(each, depth=depth - 1) for key, each in value.items()}
    return value
