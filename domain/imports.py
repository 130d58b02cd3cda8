"""Imports: which documents go into one pack, which calls they share, what an archive may hold."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from domain.documents import Format
from domain.errors import DomainError, PayloadTooLarge
from domain.formats import HEAD_BYTES, TAIL_BYTES, detect, is_archive
from domain.ids import IngestionId

# A pack's extraction takes about a second and its embedding a few calls: a crash repeats little, and
# what one step costs by itself is shared by many documents.
PACK_DOCUMENTS = 64
PACK_BYTES = 4 << 20
# Larger ones would hold up the others of their pack, and gain little from sharing calls.
PACKED_BYTES = 1 << 20
PACKED_CHUNKS = 500

_SEPARATOR = re.compile(r"[/\\]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_NAME_LENGTH = 255


class ImportStatus(StrEnum):
    """Where an import stands."""

    PENDING = "pending"
    UNPACKING = "unpacking"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({ImportStatus.PENDING, ImportStatus.UNPACKING, ImportStatus.RUNNING})
FINAL = frozenset(set(ImportStatus) - OPEN)


class ItemOutcome(StrEnum):
    """What became of a file that was given."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that waits for a pack."""

    ingestion_id: IngestionId
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Documents of the next pack, and those that need a run of their own; the others wait."""

    packed: list[IngestionId]
    alone: list[IngestionId]


def choose_pack(candidates: Iterable[Candidate]) -> Choice:
    """Fill a pack in order, up to its documents and bytes. One document always fits."""
    choice, size = Choice([], []), 0
    for candidate in candidates:
        if candidate.size_bytes > PACKED_BYTES:
            choice.alone.append(candidate.ingestion_id)
            continue
        full = len(choice.packed) >= PACK_DOCUMENTS or size + candidate.size_bytes > PACK_BYTES
        if choice.packed and full:
            break
        choice.packed.append(candidate.ingestion_id)
        size += candidate.size_bytes
    return choice


def share_tokens(tokens: int, chunks: Sequence[int]) -> list[int]:
    """Divide the tokens of one call by the chunks in it; nothing is lost by rounding."""
    shares, done, paid = [], 0, 0
    total = sum(chunks)
    for count in chunks:
        done += count
        upto = tokens * done // total
        shares.append(upto - paid)
        paid = upto
    return shares


# What is in an archive


def is_junk(path: str) -> bool:
    """Tell what systems put beside the files of a person: hidden files, resource forks, thumbnails."""
    parts = [part for part in _SEPARATOR.split(path) if part not in ("", ".", "..")]
    if not parts:
        return True
    hidden = any(part.startswith(".") for part in parts)
    return hidden or "__MACOSX" in parts or parts[-1].lower() in {"thumbs.db", "desktop.ini"}


def name_of(path: str) -> str:
    """Give the name of a document by a path that is not trusted: its last part, printable and not too long."""
    last = _SEPARATOR.split(path)[-1]
    clean = _UNPRINTABLE.sub(" ", last.encode("utf-8", "replace").decode()).strip()
    if len(clean) <= _NAME_LENGTH:
        return clean or "unnamed"
    stem, dot, suffix = clean.rpartition(".")
    kept = f".{suffix}" if dot and len(suffix) <= 12 else ""
    return (stem if kept else clean)[: _NAME_LENGTH - len(kept)] + kept


@dataclass(slots=True)
class Intake:
    """What is learnt of a file's bytes as they pass: size, hash, format. Refuses what is not taken."""

    name: str
    limit: int
    declared: str | None = None
    size: int = 0
    _head: bytes = b""
    _tail: bytes = b""
    _found: tuple[Format, str] | None = None
    _sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def take(self, data: bytes) -> None:
        """Count the next bytes. Raises `PayloadTooLarge`, `UnsupportedFormat`."""
        self.size += len(data)
        if self.size > self.limit:
            raise PayloadTooLarge(f"The file is larger than {self.limit} bytes, the most that this server takes.")
        self._sha.update(data)
        if self._found is None:
            self._head += data[: HEAD_BYTES - len(self._head)]
            if is_archive(self._head):  # its end tells what it is
                self._tail = (self._tail + data)[-TAIL_BYTES:]
            elif len(self._head) >= HEAD_BYTES:
                self._found = detect(self._head, self.name, self.declared)

    def finish(self) -> "Taken":
        """Give the result. Raises `EmptyFile`, `UnsupportedFormat`."""
        found = self._found or detect(self._head, self.name, self.declared, self._tail)
        return Taken(self.name, self.size, self._sha.hexdigest(), *found)


@dataclass(frozen=True, slots=True)
class Taken:
    """A file whose bytes are taken."""

    name: str
    size_bytes: int
    sha256: str
    format: Format
    content_type: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that is not taken, and why."""

    name: str
    size_bytes: int
    code: str
    message: str

    @classmethod
    def of(cls, name: str, size_bytes: int, error: DomainError) -> "Refusal":
        """Keep the error's code and sentence."""
        return cls(name, size_bytes, error.code, error.message)
