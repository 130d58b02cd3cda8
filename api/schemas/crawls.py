"""Crawls on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints
from sqlalchemy import Row

from adapters.postgres.crawl_requests import Counts
from api.schemas.base import Answer, Body
from api.schemas.documents import LastError
from domain.crawls import MAX_DEPTH, MAX_PAGES, CrawlMode, CrawlStatus, PageState
from domain.documents import DocumentStatus

_NEW: dict[str, Any] = {"url": "https://example.com/docs/", "mode": "auto", "max_pages": 200, "max_depth": 3}


class NewCrawl(Body):
    """A site to go through: the pages under the URL's folder."""

    model_config = ConfigDict(json_schema_extra={"example": _NEW})

    url: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
        Field(description="Where to begin, or with `sitemap` a sitemap itself; only pages under its folder are taken."),
    ]
    mode: Annotated[CrawlMode, Field(description="`auto`: by the sitemap where there is one, else by links.")] = (
        CrawlMode.AUTO
    )
    max_pages: Annotated[int, Field(ge=1, le=MAX_PAGES)] = 100
    max_depth: Annotated[
        int, Field(ge=0, le=MAX_DEPTH, description="Links away from the URL; 0 is that page alone.")
    ] = 3


class CrawlProgress(Answer):
    """The pages that are known, by what became of them in this run."""

    found: Annotated[int, Field(description="All pages that are known.")]
    waiting: Annotated[int, Field(description="Those that this run has yet to come to.")]
    fetched: Annotated[int, Field(description="New documents, and new versions.")]
    unchanged: Annotated[int, Field(description="The bot has these bytes.")]
    moved: Annotated[int, Field(description="Redirect to another page of the crawl.")]
    refused: Annotated[int, Field(description="Not taken: robots.txt, format, size, or outside of the site.")]
    failed: Annotated[int, Field(description="Their server did not give them.")]
    gone: Annotated[
        int, Field(description="Were there in an earlier run. Their documents are left: delete them yourself.")
    ]


_CRAWL: dict[str, Any] = {
    "id": "0199f0c4-a444-7c22-8d33-4e5f6a7b8c9d",
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "url": "https://example.com/docs/",
    "mode": "auto",
    "max_pages": 200,
    "max_depth": 3,
    "status": "running",
    "runs": 1,
    "progress": {
        "found": 57, "waiting": 30, "fetched": 24, "unchanged": 0, "moved": 1, "refused": 2, "failed": 0, "gone": 0,
    },
    "documents": {"pending": 10, "processing": 2, "ready": 12},
    "last_error": None,
    "created_at": "2026-11-21T12:00:00Z",
    "updated_at": "2026-11-21T12:00:30Z",
    "finished_at": None,
}  # fmt: skip


class Crawl(Answer):
    """A crawl. It ends when its pages are fetched; their documents become ready by themselves."""

    model_config = ConfigDict(json_schema_extra={"example": _CRAWL})

    id: UUID
    bot_id: UUID
    url: str
    mode: CrawlMode
    max_pages: int
    max_depth: int
    status: CrawlStatus
    runs: Annotated[int, Field(description="Times it was started: 1, and one more a refresh.")]
    progress: CrawlProgress
    documents: Annotated[dict[DocumentStatus, int], Field(description="Documents of its pages, by their status.")]
    last_error: LastError | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any], counts: Counts) -> "Crawl":
        """Render a crawl's row with what was counted of its pages."""
        plain = cls.model_fields.keys() - {"runs", "progress", "documents", "last_error"}
        states = {state: counts.states.get(state, 0) for state in CrawlProgress.model_fields}
        found = sum(counts.states.values()) + counts.waiting
        return cls(
            **{name: getattr(row, name) for name in plain},
            runs=row.epoch,
            progress=CrawlProgress(**states | {"found": found, "waiting": counts.waiting}),
            documents={DocumentStatus(status): number for status, number in counts.documents.items()},
            last_error=LastError.of(row),
        )


_PAGE: dict[str, Any] = {
    "id": "9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d4",
    "url": "https://example.com/docs/start",
    "depth": 1,
    "state": "fetched",
    "http_status": 200,
    "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "last_error": None,
    "updated_at": "2026-11-21T12:00:02Z",
}


class CrawlPage(Answer):
    """A page of a crawl, and what became of it in the last run that came to it."""

    model_config = ConfigDict(json_schema_extra={"example": _PAGE})

    id: UUID
    url: str
    depth: int
    state: PageState
    http_status: int | None
    document_id: UUID | None
    last_error: LastError | None
    updated_at: datetime

    @classmethod
    def of(cls, row: Row[Any]) -> "CrawlPage":
        """Render a page's row."""
        plain = cls.model_fields.keys() - {"last_error"}
        return cls(**{name: getattr(row, name) for name in plain}, last_error=LastError.of(row))
