"""Documents: states, stages, and which operation a state allows."""

from enum import StrEnum

from domain.errors import StateConflict
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.model import Model


class DocumentStatus(StrEnum):
    """Where a document stands, as the REST contract names it."""

    PENDING = "pending"
    PROCESSING = "processing"
    NEEDS_ATTENTION = "needs_attention"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETING = "deleting"


class Stage(StrEnum):
    """The step that a running ingestion is in."""

    QUEUED = "queued"
    EXTRACTING = "extracting"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    PUBLISHING = "publishing"


class IngestionStatus(StrEnum):
    """The life of one version's ingestion; writes are accepted while it is `running` only."""

    PENDING = "pending"
    RUNNING = "running"
    PARKED = "parked"
    PUBLISHED = "published"
    RETIRED = "retired"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SourceType(StrEnum):
    """How a document came in."""

    FILE = "file"
    TEXT = "text"
    URL = "url"


class Format(StrEnum):
    """Formats that are read."""

    PDF = "pdf"
    TEXT = "text"
    MARKDOWN = "markdown"
    DOCX = "docx"
    PPTX = "pptx"
    XLSX = "xlsx"
    ODS = "ods"
    ODT = "odt"
    EPUB = "epub"
    HTML = "html"
    EML = "eml"
    RTF = "rtf"
    CSV = "csv"
    JSON = "json"
    IMAGE = "image"

    @property
    def is_markdown(self) -> bool:
        """Tell whether the extracted text is Markdown, so that its headings are paths and its rows are lines."""
        return self not in {Format.PDF, Format.TEXT}

    @property
    def is_paged(self) -> bool:
        """Tell whether pages have numbers (page, slide, sheet), or are only pieces of one text."""
        return self in {Format.PDF, Format.PPTX, Format.XLSX, Format.ODS, Format.IMAGE}

    @property
    def is_archive(self) -> bool:
        """Tell whether the file is a ZIP of its parts."""
        return self in {Format.DOCX, Format.PPTX, Format.XLSX, Format.ODS, Format.ODT, Format.EPUB}

    @property
    def is_text(self) -> bool:
        """Tell whether the file's bytes are text in an encoding that can be detected and asked for."""
        return self in {Format.TEXT, Format.MARKDOWN, Format.HTML, Format.CSV, Format.JSON}


class Operation(StrEnum):
    """What a person can ask of a document."""

    RETRY = "retry"
    ABANDON = "abandon"
    CANCEL = "cancel"
    REPLACE = "replace"


class IngestionRef(Model):
    """What every ingestion step is given: ids only.

    `epoch` counts the runs that were started for this ingestion; a write carries it, so that an
    activity of an earlier run cannot touch what a later one owns. A reset from the Web UI keeps it.
    """

    owner_id: UserId
    bot_id: BotId
    document_id: DocumentId
    ingestion_id: IngestionId
    epoch: int = 1


_ALLOWED: dict[Operation, frozenset[DocumentStatus]] = {
    Operation.RETRY: frozenset({DocumentStatus.NEEDS_ATTENTION, DocumentStatus.FAILED, DocumentStatus.CANCELLED}),
    Operation.ABANDON: frozenset({DocumentStatus.NEEDS_ATTENTION}),
    Operation.CANCEL: frozenset({DocumentStatus.PENDING, DocumentStatus.PROCESSING, DocumentStatus.NEEDS_ATTENTION}),
    Operation.REPLACE: frozenset(set(DocumentStatus) - {DocumentStatus.DELETING}),
}

FINAL = frozenset({DocumentStatus.READY, DocumentStatus.FAILED, DocumentStatus.CANCELLED})


def require(operation: Operation, status: DocumentStatus) -> None:
    """Raise `StateConflict` where `status` does not allow `operation`."""
    allowed = _ALLOWED[operation]
    if status not in allowed:
        names = ", ".join(sorted(allowed))
        raise StateConflict(f"A document that is {status} does not take {operation}; it must be one of: {names}.")
