"""Files."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Row

from api.openai.schemas.base import Shown, example_of, seconds

_ID = "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d"


class File(Shown):
    """Bytes that were uploaded."""

    model_config = example_of(
        id=_ID,
        object="file",
        bytes=1048576,
        created_at=1795262400,
        filename="handbook.pdf",
        purpose="assistants",
        status="processed",
        expires_at=None,
    )

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["assistants", "user_data"]
    status: Annotated[Literal["processed"], Field(description="Of the upload; a vector store's file has its own.")] = (
        "processed"
    )
    expires_at: int | None = None

    @classmethod
    def of(cls, row: Row[Any]) -> "File":
        """Render a file's row."""
        return cls(
            id=str(row.id),
            bytes=row.size_bytes,
            created_at=seconds(row.created_at),
            filename=row.name,
            purpose=row.purpose,
            expires_at=None if row.expires_at is None else seconds(row.expires_at),
        )

    @classmethod
    def of_document(cls, row: Row[Any]) -> "File":
        """Render a document that came in by another door."""
        return cls(
            id=str(row.id),
            bytes=row.size_bytes,
            created_at=seconds(row.created_at),
            filename=row.name,
            purpose="assistants",
        )


class FileDeleted(Shown):
    """A file that is gone."""

    model_config = example_of(id=_ID, object="file", deleted=True)

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def lifetime(given: int | None) -> timedelta | None:
    """Tell how long a file lives."""
    return None if given is None else timedelta(seconds=given)
