"""Metadata that an owner gives a document, and filters that choose documents by it, by id and by date."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
)

from domain.errors import InvalidRequest
from domain.moments import Moment
from domain.storing import is_storable

MOST_KEYS = 32
LONGEST_KEY = 64
LONGEST_TEXT = 512
MOST_VALUES = 64
MOST_DOCUMENTS = 1000
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

Metadata = dict[str, JsonValue]
"""Flat: texts, numbers, true or false, and lists of them."""


def checked_metadata(value: object, *, param: str = "metadata") -> Metadata:
    """Give metadata back as it may be stored. Raises `InvalidRequest`, which says what metadata may be."""
    if not isinstance(value, Mapping) or len(value) > MOST_KEYS:
        raise InvalidRequest(f"Metadata is one JSON object with {MOST_KEYS} keys at most.", param=param)
    for key, entry in value.items():
        if not 1 <= len(key) <= LONGEST_KEY or not is_storable(key):
            raise InvalidRequest(f"A key of metadata is a text of 1 to {LONGEST_KEY} characters.", param=param)
        values = entry if isinstance(entry, list) else [entry]
        if len(values) > MOST_VALUES or not all(map(_is_scalar, values)):
            raise InvalidRequest(
                f"The metadata's `{key}` is no text of {LONGEST_TEXT} characters at most, no number, not true or false, "
                f"and no list of {MOST_VALUES} of these at most.",
                param=param,
            )
    return dict(value)


def read_metadata(text: str, *, param: str = "metadata") -> Metadata:
    """Read metadata of a form, where it is JSON in a text. Raises `InvalidRequest`."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest('Metadata is a JSON object, for example {"year": 2026}.', param=param) from None
    return checked_metadata(value, param=param)


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT and is_storable(value)
    return isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value))


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("Text must not hold NUL or halves of surrogate pairs.")
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Key = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY), AfterValidator(_storable)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(_storable)]
Scalar = bool | int | float | Text


class Comparison(_Strict):
    """Bounds of a value: numbers by size, texts by their characters, so that ISO dates are in order."""

    gt: int | float | Text | None = None
    gte: int | float | Text | None = None
    lt: int | float | Text | None = None
    lte: int | float | Text | None = None

    def condition(self, path: str) -> str:
        """Ask for one value at a JSON path that is within all bounds; of a list each value is looked at by itself."""
        given = self.model_dump(exclude_none=True).items()
        bounds = " && ".join(f"@ {_COMPARISONS[name]} {json.dumps(bound)}" for name, bound in given)
        return f"exists({path} ? ({bounds}))"


def _condition(value: object) -> object:
    """Say in one sentence what a condition is, where it is none of its kinds."""
    if isinstance(value, Comparison | tuple):  # it was read already
        return value
    if isinstance(value, Mapping):
        bounds = list(value.values())
        holds = len(bounds) > 0 and value.keys() <= _COMPARISONS.keys() and not any(isinstance(b, bool) for b in bounds)
        values = bounds if holds else [None]
    else:
        values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MOST_VALUES or not all(map(_is_scalar, values)):
        raise ValueError(
            "A condition is a text, a number, true, false, a list of them, or bounds by gt, gte, lt, lte, "
            'for example {"gte": 2020}'
        )
    return value


Condition = Scalar | tuple[Scalar, ...] | Comparison
Conditions = dict[Key, Annotated[Condition, BeforeValidator(_condition)]]


class DocumentFilter(_Strict):
    """Which documents may answer: those that meet all that is given."""

    document_ids: Annotated[
        tuple[UUID, ...] | None,
        Field(min_length=1, max_length=MOST_DOCUMENTS, description="One of these documents. Null: any."),
    ] = None
    metadata: Annotated[
        Conditions,
        Field(
            max_length=MOST_KEYS,
            description="By key: a value that the document's metadata has there, a list of which it has one, or bounds, "
            'as {"gte": 2020, "lt": 2026}. Where the metadata holds a list, one of its values must fit.',
        ),
    ] = {}
    created_after: Annotated[Moment | None, Field(description="Accepted at this time or later.")] = None
    created_before: Annotated[Moment | None, Field(description="Accepted before this time.")] = None

    def metadata_path(self) -> str | None:
        """Write what is asked of the metadata as an SQL/JSON path predicate; none where nothing is."""
        return " && ".join(_condition_on(key, wanted) for key, wanted in self.metadata.items()) or None


EVERYTHING = DocumentFilter()


def read_condition(text: str, *, param: str) -> Conditions:
    """Read what is asked of metadata where it is JSON in a query. Raises `InvalidRequest`."""
    try:
        return DocumentFilter.model_validate({"metadata": json.loads(text)}).metadata
    except (ValidationError, ValueError, RecursionError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is no JSON"
        raise InvalidRequest(
            f"The condition cannot be read: {why.removeprefix('Value error, ')}. Send a JSON object, for example "
            '{"department": "HR", "year": {"gte": 2020}}.',
            param=param,
        ) from None


def _condition_on(key: str, wanted: "Condition") -> str:
    path = f"$.{json.dumps(key)}"
    if isinstance(wanted, Comparison):
        return wanted.condition(path)
    values = wanted if isinstance(wanted, tuple) else (wanted,)
    return f"({' || '.join(f'{path} == {json.dumps(value)}' for value in values)})"
