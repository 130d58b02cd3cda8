"""Vector stores: bots and their documents."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.openai.schemas.base import MOST_METADATA, Asked, Labels, Shown, example_of
from api.schemas.base import Name

_BOT = "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11"
_FILE = "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d"
_COUNTS = {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}
MOST_FILES = 500

_CHUNKING: Mapping[str, tuple[object, ...]] = {"chunking_strategy": ({"type": "auto"},)}
_HARMLESS: Mapping[str, tuple[object, ...]] = {**_CHUNKING, "expires_after": ()}

Attributes = Annotated[
    dict[str, str | float | bool], Field(max_length=MOST_METADATA, description="The document's metadata.")
]
FileIds = Annotated[list[UUID], Field(max_length=MOST_FILES)]


class StoreBody(Asked):
    """A new vector store: a bot with the default settings."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Handbook", "file_ids": [_FILE]}})

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = _HARMLESS

    name: Name | None = None
    description: Annotated[str | None, Field(max_length=500)] = None
    file_ids: FileIds | None = None
    metadata: Labels | None = None


class StoreChange(Asked):
    """What is given is changed."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Handbook of 2026"}})

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = _HARMLESS

    name: Name | None = None
    metadata: Labels | None = None


class FileCounts(Shown):
    """Documents by their state; those that wait for a person count as failed."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


class VectorStore(Shown):
    """A bot."""

    model_config = example_of(
        id=_BOT,
        object="vector_store",
        created_at=1795262400,
        last_active_at=1795262400,
        name="Handbook",
        description="",
        status="completed",
        usage_bytes=1048576,
        file_counts=_COUNTS,
        metadata={},
    )

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    last_active_at: int
    name: str
    description: str
    status: Annotated[Literal["in_progress", "completed"], Field(description="Whether documents are worked on.")]
    usage_bytes: int
    file_counts: FileCounts
    metadata: dict[str, str]
    expires_after: None = None
    expires_at: None = None


class StoreDeleted(Shown):
    """A bot that is out of sight."""

    model_config = example_of(id=_BOT, object="vector_store.deleted", deleted=True)

    id: str
    object: Literal["vector_store.deleted"] = "vector_store.deleted"
    deleted: Literal[True] = True


class StoreFileBody(Asked):
    """A file that the store is to have."""

    model_config = ConfigDict(json_schema_extra={"example": {"file_id": _FILE, "attributes": {"year": 2026}}})

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = _CHUNKING

    file_id: UUID
    attributes: Attributes | None = None


class AttributesBody(Asked):
    """What a document is described by from now on."""

    model_config = ConfigDict(json_schema_extra={"example": {"attributes": {"year": 2026}}})

    attributes: Attributes | None


FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
BatchStatus = Literal["in_progress", "completed", "cancelled"]


class StoreFileError(Shown):
    """Why a document is not ready, and what to do; `reason` is its own code."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str
    reason: str


class StoreFile(Shown):
    """A document."""

    model_config = example_of(
        id=_FILE,
        object="vector_store.file",
        created_at=1795262400,
        vector_store_id=_BOT,
        document_id=_FILE,
        filename="handbook.pdf",
        status="completed",
        usage_bytes=1048576,
        last_error=None,
        attributes={"year": 2026},
    )

    id: Annotated[str, Field(description="Of the file; of the document, where it came in by another door.")]
    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    document_id: str
    filename: str
    status: FileStatus
    usage_bytes: int
    last_error: StoreFileError | None = None
    attributes: dict[str, str | float | bool]


class StoreFileDeleted(Shown):
    """A document that is gone; its file stays."""

    model_config = example_of(id=_FILE, object="vector_store.file.deleted", deleted=True)

    id: str
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
    deleted: Literal[True] = True


class BatchFile(Asked):
    """A file of a batch."""

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = _CHUNKING

    file_id: UUID
    attributes: Attributes | None = None


class BatchBody(Asked):
    """Files that the store is to have together: all described alike, or each by itself."""

    model_config = ConfigDict(json_schema_extra={"example": {"file_ids": [_FILE]}})

    harmless: ClassVar[Mapping[str, tuple[object, ...]]] = _CHUNKING

    file_ids: FileIds | None = None
    files: Annotated[list[BatchFile] | None, Field(max_length=MOST_FILES)] = None
    attributes: Attributes | None = None

    def wanted(self) -> list[BatchFile]:
        """Name each file once, with its description."""
        alike = [BatchFile(file_id=file, attributes=self.attributes) for file in self.file_ids or []]
        return list({each.file_id: each for each in [*alike, *(self.files or [])]}.values())


class Batch(Shown):
    """Files that came together."""

    model_config = example_of(
        id=_FILE,
        object="vector_store.files_batch",
        created_at=1795262400,
        vector_store_id=_BOT,
        status="completed",
        file_counts=_COUNTS,
    )

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: BatchStatus
    file_counts: FileCounts


class RankingOptions(BaseModel):
    """Which results are good enough."""

    model_config = ConfigDict(extra="ignore")

    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


def _as_queries(value: object) -> object:
    return [value] if isinstance(value, str) else value


class StoreSearchBody(Asked):
    """What to look for."""

    model_config = ConfigDict(json_schema_extra={"example": {"query": "parental leave", "max_num_results": 5}})

    query: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4000)]],
        BeforeValidator(_as_queries),
        Field(min_length=1, max_length=5, description="A text, or several whose results are put together."),
    ]
    max_num_results: Annotated[int, Field(ge=1, le=50)] = 10
    filters: dict[str, Any] | None = None
    ranking_options: RankingOptions = RankingOptions()


class FoundText(Shown):
    """A passage."""

    type: Literal["text"] = "text"
    text: str


class FoundFile(Shown):
    """A passage that was found."""

    model_config = example_of(
        file_id=_FILE,
        filename="handbook.pdf",
        score=0.94,
        attributes={"year": 2026},
        content=[{"type": "text", "text": "Everyone has thirty days of leave."}],
        chunk_id="9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d3",
        page=12,
    )

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | float | bool]
    content: list[FoundText]
    chunk_id: str
    page: int | None


class FoundFiles(Shown):
    """Passages, best first."""

    model_config = example_of(
        object="vector_store.search_results.page",
        search_query=["parental leave"],
        data=[FoundFile.model_config["json_schema_extra"]["example"]],  # type: ignore[index]  # as above
        has_more=False,
        next_page=None,
    )

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[FoundFile]
    has_more: Literal[False] = False
    next_page: None = None
