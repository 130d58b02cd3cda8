"""A pack's plan: documents with their chunks, one JSON object a line, and which chunks go into one call."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.ids import IngestionId


@dataclass(frozen=True, slots=True)
class PackedPlan:
    """What was planned for one document of a pack."""

    ingestion_id: IngestionId
    pages: int
    characters: int
    lines: Sequence[str]  # of `PlannedChunk`
    encoding: str | None = None  # of a text, as detected

    @property
    def digest(self) -> bytes:
        """SHA-256 of every planned chunk, as for a document alone: a run of its own finds the same plan."""
        whole = hashlib.sha256()
        for line in self.lines:
            whole.update(line.encode("utf-8", "surrogatepass") + b"\n")
        return whole.digest()

    def to_line(self) -> str:
        """Write as one JSON line, without its line feed."""
        fields = {
            "ingestion": str(self.ingestion_id), "pages": self.pages, "characters": self.characters,
            "encoding": self.encoding, "chunks": list(self.lines),
        }  # fmt: skip
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> "PackedPlan":
        """Read what `to_line` wrote."""
        data = json.loads(line)
        id_ = IngestionId(UUID(data["ingestion"]))
        return cls(id_, data["pages"], data["characters"], data["chunks"], data["encoding"])
