"""Search on the wire."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from api.schemas.base import Answer, Body
from api.schemas.conversations import storable
from domain.filters import EVERYTHING, DocumentFilter
from domain.retrieval import Hit, SearchMode

_EXAMPLE: dict[str, Any] = {
    "query": "parental leave",
    "limit": 5,
    "mode": "hybrid",
    "filter": {"metadata": {"department": "HR", "year": {"gte": 2020}}},
}


class SearchBody(Body):
    """What to look for."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    query: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
        AfterValidator(storable),
    ]
    limit: Annotated[int, Field(ge=1, le=50)] = 10
    mode: Annotated[SearchMode | None, Field(description="Null is the bot's own mode.")] = None
    filter: Annotated[DocumentFilter, Field(description="Which documents are searched.")] = EVERYTHING


_FOUND: dict[str, Any] = {
    "chunk_id": "9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d3",
    "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
    "document_name": "handbook.pdf",
    "page": 12,
    "char_start": 18042,
    "char_end": 18076,
    "content": "Everyone has thirty days of leave.",
    "score": 0.94,
    "similarity": 0.81,
}


class Found(Answer):
    """One chunk. `score` lies between 0 and 1; compare scores of one mode only."""

    model_config = ConfigDict(json_schema_extra={"example": _FOUND})

    chunk_id: UUID
    document_id: UUID
    document_name: Annotated[str, Field(examples=["handbook.pdf"])]
    page: int | None
    char_start: Annotated[int, Field(description="In the document's text, in characters.")]
    char_end: int
    content: str
    score: Annotated[
        float,
        Field(
            description="vector: cosine similarity; keyword: share of the query's words, each weighed by how rare it is; "
            "hybrid: both in one, 1 for a chunk that is best by words and stands out by its vector."
        ),
    ]
    similarity: Annotated[
        float | None, Field(description="Cosine similarity, which `min_score` is about; null in keyword mode.")
    ] = None

    @classmethod
    def of(cls, hit: Hit) -> "Found":
        """Render a hit."""
        return cls(
            chunk_id=hit.chunk_id,
            document_id=hit.document_id,
            document_name=hit.document_name,
            page=hit.page,
            char_start=hit.char_start,
            char_end=hit.char_end,
            content=hit.content,
            score=hit.score,
            similarity=hit.similarity,
        )
