"""Flight records on the wire: what became of a version, step by step."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from sqlalchemy import Row

from api.schemas.base import Answer, Body
from api.schemas.documents import LastError, Progress
from domain.documents import IngestionStatus, Stage


class RetryOptions(Body):
    """How to go on."""

    model_config = ConfigDict(json_schema_extra={"example": {"keep_text_pages": True}})

    keep_text_pages: Annotated[
        bool,
        Field(description="Go on with the pages that have text, and leave out those that would have to be recognised."),
    ] = False


class PendingStep(Answer):
    """A step that runs or waits for its next attempt, as the workflow engine tells."""

    step: str
    attempt: int
    running: bool
    next_retry_at: datetime | None
    last_error: LastError | None


class RefusedChunk(Answer):
    """A chunk that the model would not embed: keyword search finds it, vector search does not."""

    chunk_id: UUID
    ordinal: int
    page: int | None
    code: Annotated[str, Field(examples=["provider_rejected"])]
    message: str

    @classmethod
    def of(cls, row: Row[Any]) -> "RefusedChunk":
        """Render a chunk's row."""
        where = (
            "The model refuses this text"
            if row.page_from is None
            else f"The model refuses a text of page {row.page_from}"
        )
        message = f"{where}. Keywords find it; change it in a new version of the document to have it embedded."
        return cls(chunk_id=row.id, ordinal=row.ordinal, page=row.page_from, code=row.embedding_error, message=message)


class ModelCalls(Answer):
    """Paid calls: those whose result is stored, and those needed in all."""

    made: int
    needed: int | None


class StepRecord(Answer):
    """What one step of an ingestion took, all attempts together, and what it waits for."""

    step: Annotated[str, Field(examples=["embed"])]
    part: Annotated[int, Field(description="Shard of an embed step, else 0.")]
    state: Annotated[
        Literal["waiting", "running", "completed", "failed"],
        Field(description="`waiting`: for a worker, or for its next attempt."),
    ]
    attempts: Annotated[int, Field(description="Those that ended, and one that runs.")]
    seconds: float
    started_at: datetime | None
    finished_at: datetime | None
    last_error: LastError | None
    next_retry_at: datetime | None
    model_calls: Annotated[ModelCalls | None, Field(description="Of a step that calls a model.")]
    model_tokens: int
    url: Annotated[str | None, Field(description="Where the workflow engine shows it.")]


class WorkflowLink(Answer):
    """Where to look in the workflow engine."""

    id: str
    run_id: str | None
    url: str | None
    reachable: Annotated[bool, Field(description="False: the engine does not answer, `pending` is not known.")]


_FLIGHT: dict[str, Any] = {
    "id": "0199f0c4-a222-7c22-8d33-4e5f6a7b8c9d",
    "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "version": 1,
    "status": "running",
    "stage": "embedding",
    "runs": 1,
    "progress": {
        "pages_done": 300,
        "pages_total": 300,
        "chunks_done": 300,
        "chunks_total": 807,
        "per_second": 71.43,
        "estimated_seconds_left": 8,
    },
    "steps": [
        {
            "step": "extract",
            "part": 0,
            "state": "completed",
            "attempts": 1,
            "seconds": 0.31,
            "started_at": "2026-11-21T12:00:00Z",
            "finished_at": "2026-11-21T12:00:01Z",
            "last_error": None,
            "next_retry_at": None,
            "model_calls": None,
            "model_tokens": 0,
            "url": "http://127.0.0.1:8233/namespaces/default/workflows/…/history",
        },
        {
            "step": "embed",
            "part": 0,
            "state": "waiting",
            "attempts": 1,
            "seconds": 4.2,
            "started_at": "2026-11-21T12:00:01Z",
            "finished_at": None,
            "last_error": {"code": "provider_rate_limited", "message": "The provider asks for a pause."},
            "next_retry_at": "2026-11-21T12:00:30Z",
            "model_calls": {"made": 3, "needed": 5},
            "model_tokens": 52000,
            "url": "http://127.0.0.1:8233/namespaces/default/workflows/…/pending-activities",
        },
    ],
    "pending": [
        {
            "step": "embed",
            "attempt": 2,
            "running": False,
            "next_retry_at": "2026-11-21T12:00:30Z",
            "last_error": {"code": "provider_rate_limited", "message": "The provider asks for a pause."},
        }
    ],
    "next_retry_at": "2026-11-21T12:00:30Z",
    "last_error": None,
    "model_calls": {"made": 3, "needed": 9},
    "model_tokens": 52000,
    "chunks_stored": 300,
    "chunks_planned": 807,
    "chunks_reused": 0,
    "chunks_refused": 1,
    "refused_chunks": [
        {
            "chunk_id": "9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d3",
            "ordinal": 17,
            "page": 6,
            "code": "provider_rejected",
            "message": "The model refuses a text of page 6. Keywords find it; change it in a new version of the document "
            "to have it embedded.",
        }
    ],
    "pages_recognized": 0,
    "pages_without_text": [],
    "embedding_model": "gemini-embedding-001",
    "workflow": {
        "id": "ingest/0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
        "run_id": "0199f0c4-a333-7c22-8d33-4e5f6a7b8c9d",
        "url": "http://127.0.0.1:8233/namespaces/default/workflows/…/history",
        "reachable": True,
    },
    "created_at": "2026-11-21T12:00:00Z",
    "started_at": "2026-11-21T12:00:00Z",
    "finished_at": None,
}


class Ingestion(Answer):
    """The flight record of the newest version's ingestion."""

    model_config = ConfigDict(json_schema_extra={"example": _FLIGHT})

    id: UUID
    document_id: UUID
    version: int
    status: IngestionStatus
    stage: Stage | None
    runs: Annotated[int, Field(description="Times it was started: 1, and one more a retry after its end.")]
    progress: Progress
    steps: list[StepRecord]
    pending: list[PendingStep]
    next_retry_at: datetime | None
    last_error: LastError | None
    model_calls: ModelCalls
    model_tokens: int
    chunks_stored: int
    chunks_planned: int | None
    chunks_reused: Annotated[int, Field(description="Stored without a call: another chunk of yours had the same text.")]
    chunks_refused: int
    refused_chunks: Annotated[list[RefusedChunk], Field(description="The first hundred of `chunks_refused`.")]
    pages_recognized: Annotated[int, Field(description="Pages whose text was recognised on their image.")]
    pages_without_text: Annotated[
        list[int], Field(description="Pages that look like pictures and are not recognised, or not yet.")
    ]
    embedding_model: str | None
    workflow: WorkflowLink
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
