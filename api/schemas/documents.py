"""Documents and chunks on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from sqlalchemy import Row

from api.schemas.base import Answer, Body, JsonObject
from domain.documents import DocumentStatus, SourceType, Stage
from domain.filters import MOST_KEYS, checked_metadata
from domain.progress import Pace, pace_of


class LastError(Answer):
    """Why it stands still, and what to do."""

    code: Annotated[str, Field(examples=["no_text"])]
    message: str

    @classmethod
    def of(cls, row: Row[Any]) -> "LastError | None":
        """Render a row's error columns."""
        return None if row.error_code is None else cls(code=row.error_code, message=row.error_message or "")


class Progress(Answer):
    """How far the version that is worked on has come."""

    pages_done: int
    pages_total: int | None
    chunks_done: int
    chunks_total: int | None
    per_second: Annotated[float | None, Field(description="Pages while extracting, chunks while embedding.")]
    estimated_seconds_left: Annotated[int | None, Field(description="Of this stage, at that pace.")]

    @classmethod
    def of(cls, row: Row[Any]) -> "Progress":
        """Render a document's row."""
        pace = _pace(row)
        return cls(
            pages_done=row.pages_done,
            pages_total=row.pages_total,
            chunks_done=row.chunks_done,
            chunks_total=row.chunks_total,
            per_second=pace.per_second if pace else None,
            estimated_seconds_left=pace.seconds_left if pace else None,
        )


def _pace(row: Row[Any]) -> Pace | None:
    """Judge by the last progress that was stored, so that what is shown changes with progress only."""
    if row.status != DocumentStatus.PROCESSING or row.stage_started_at is None:
        return None
    done, total = {
        Stage.EXTRACTING: (row.pages_done, row.pages_total),
        Stage.EMBEDDING: (row.chunks_done, row.chunks_total),
    }.get(row.stage, (0, None))
    return pace_of(begun_at=row.stage_done, done=done, total=total, elapsed=row.updated_at - row.stage_started_at)


_DOCUMENT: dict[str, Any] = {
    "id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "name": "handbook.pdf",
    "source_type": "file",
    "content_type": "application/pdf",
    "size_bytes": 1048576,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "metadata": {"department": "HR", "year": 2026},
    "source_url": None,
    "fetched_at": None,
    "status": "needs_attention",
    "stage": "extracting",
    "progress": {
        "pages_done": 0,
        "pages_total": 300,
        "chunks_done": 0,
        "chunks_total": None,
        "per_second": None,
        "estimated_seconds_left": None,
    },
    "encoding": None,
    "version": 1,
    "page_count": None,
    "chunk_count": None,
    "refused_chunks": 0,
    "last_error": {"code": "no_text", "message": "The PDF has no text. Upload a searchable version (OCR)."},
    "created_at": "2026-11-21T12:00:00Z",
    "updated_at": "2026-11-21T12:00:02Z",
    "ready_at": None,
}


class Document(Answer):
    """A document. Size, hash and version are of the newest version; the active one answers until that is ready."""

    model_config = ConfigDict(json_schema_extra={"example": _DOCUMENT})

    id: UUID
    bot_id: UUID
    name: Annotated[str, Field(examples=["handbook.pdf"])]
    source_type: SourceType
    content_type: Annotated[str, Field(examples=["application/pdf"])]
    size_bytes: int
    sha256: str
    encoding: Annotated[
        str | None, Field(description="Of a file of text: as asked for, else as detected when it was read.")
    ]
    metadata: Annotated[JsonObject, Field(description="As given at upload or changed since; filters go by it.")]
    source_url: Annotated[str | None, Field(description="Of a page that was fetched.")]
    fetched_at: Annotated[datetime | None, Field(description="When the page was last asked for with success.")]
    status: DocumentStatus
    stage: Stage | None
    progress: Progress
    version: int
    page_count: Annotated[
        int | None,
        Field(description="Pages, slides or sheets of the version that answers; none where its format has no pages."),
    ]
    chunk_count: Annotated[int | None, Field(description="Of the version that answers.")]
    refused_chunks: Annotated[
        int,
        Field(
            description="Of `chunk_count`: those that the model would not embed. Keywords find them; the flight record names them."
        ),
    ]
    last_error: LastError | None
    created_at: datetime
    updated_at: datetime
    ready_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> "Document":
        """Render a document's row."""
        plain = cls.model_fields.keys() - {"progress", "last_error"}
        return cls(
            **{name: getattr(row, name) for name in plain},
            progress=Progress.of(row),
            last_error=LastError.of(row),
        )


GivenMetadata = Annotated[
    JsonObject,
    BeforeValidator(checked_metadata),
    Field(
        examples=[{"department": "HR", "year": 2026, "tags": ["leave", "travel"]}],
        description=f"{MOST_KEYS} keys at most; values are texts, numbers, true, false, or lists of them. Filters go by it.",
    ),
]
METADATA_FIELD: dict[str, Any] = {
    "type": "string",
    "description": 'A JSON object, for example {"department": "HR", "year": 2026}: filters go by it.',
}


class DocumentChange(Body):
    """What may be changed of a document: its metadata, as a whole."""

    model_config = ConfigDict(json_schema_extra={"example": {"metadata": {"department": "HR", "year": 2026}}})

    metadata: GivenMetadata


_TEXT: dict[str, Any] = {"name": "leave.md", "text": "# Leave\n\nEveryone has 30 days."}


class NewText(Body):
    """A document that comes as text."""

    model_config = ConfigDict(json_schema_extra={"example": _TEXT})

    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=255),
        Field(examples=["leave.md"], description="A name that ends in .md makes the text Markdown."),
    ]
    text: Annotated[str, Field(min_length=1, examples=["# Leave\n\nEveryone has 30 days."])]
    metadata: Annotated[GivenMetadata, Field(default_factory=dict)]


_URL: dict[str, Any] = {"url": "https://example.com/handbook", "name": "Handbook"}


class NewUrl(Body):
    """A document that is fetched from the web."""

    model_config = ConfigDict(json_schema_extra={"example": _URL})

    url: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
        Field(examples=["https://example.com/handbook"], description="http or https, of a public host."),
    ]
    name: Annotated[
        str | None,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=255),
        Field(description="Default: the URL without its scheme."),
    ] = None
    metadata: Annotated[
        GivenMetadata | None, Field(description="Left out: none or, where the page is there already, as it was.")
    ] = None


_CHUNK: dict[str, Any] = {
    "id": "9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d3",
    "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "ordinal": 0,
    "content": "Everyone has thirty days of leave.",
    "page_from": 12,
    "page_to": 12,
    "char_start": 0,
    "char_end": 34,
    "heading_path": ["Leave"],
    "embedding_error": None,
}


class Chunk(Answer):
    """A piece of a document, as it is searched."""

    model_config = ConfigDict(json_schema_extra={"example": _CHUNK})

    id: UUID
    document_id: UUID
    ordinal: int
    content: str
    page_from: int | None
    page_to: int | None
    char_start: Annotated[int, Field(description="In the extracted text, in characters.")]
    char_end: int
    heading_path: list[str]
    embedding_error: Annotated[str | None, Field(description="Set where the model would not embed it.")]

    @classmethod
    def of(cls, row: Row[Any]) -> "Chunk":
        """Render a chunk's row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class ChunkInContext(Chunk):
    """A chunk with the text around it. Where its neighbours end and begin white space may differ from the document's."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": _CHUNK
            | {
                "document_name": "handbook.pdf",
                "before": "3.1 Leave\n",
                "after": "\nIt is taken in the calendar year.",
            }
        }
    )

    document_name: Annotated[str, Field(examples=["handbook.pdf"])]
    before: Annotated[str, Field(description="The text right before `char_start`.")]
    after: Annotated[str, Field(description="The text right after `char_end`.")]

    @classmethod
    def around(cls, row: Row[Any], before: str, after: str) -> "ChunkInContext":
        """Render a chunk's row with its document's name."""
        return cls(**Chunk.of(row).model_dump(), document_name=row.document_name, before=before, after=after)
