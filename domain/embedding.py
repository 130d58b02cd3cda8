"""What is embedded and in which calls: each text once, however many chunks have it, in full batches."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text(Generic[T]):
    """A text to be embedded, and everything that has it."""

    content: str
    digest: bytes  # SHA-256 of exactly what is embedded
    holders: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands where a vector would: the model refuses the text, with this stable code."""

    code: str


def content_digest(content: str) -> bytes:
    """Name a text: two chunks of one digest have the same vector under the same model."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()


def distinct_texts(contents: Iterable[tuple[str, T]]) -> list[Text[T]]:
    """Gather what has the same text, in the order in which the texts come first."""
    found: dict[str, list[T]] = {}
    for content, holder in contents:
        found.setdefault(content, []).append(holder)
    return [Text(content, content_digest(content), tuple(holders)) for content, holders in found.items()]


def batches_of(texts: Sequence[Text[T]], size: int) -> Iterator[list[Text[T]]]:
    """Cut texts into model calls, all full but the last."""
    rest = iter(texts)
    while batch := list(islice(rest, size)):
        yield batch


def calls_for(texts: int, batch_size: int) -> int:
    """Count the model calls that so many texts take."""
    return -(-texts // batch_size)
