"""A job as it is written to the zygote, and the names of the readers."""

from typing import NotRequired, TypedDict

PDFIUM, PYPDF = "pdfium", "pypdf"
CALAMINE, OPENPYXL = "calamine", "openpyxl"
ONLY = "only"  # of a format that has one reader
READ, RENDER = "read", "render"


class Document(TypedDict):
    """One of several documents that a child reads one after another; its limits are those of the order."""

    source: str
    target: str
    format: str
    reader: str
    encoding: str | None


class Order(TypedDict):
    """One document to read, or one page of it to draw, with its limits."""

    job: int
    task: str
    source: str
    target: str
    format: str
    reader: str
    recognizable: bool
    page: int
    dots_per_inch: int
    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    pages: int
    output_bytes: int
    archive_entries: int
    archive_bytes: int
    archive_ratio: int
    encoding: str | None
    together: NotRequired[list[Document]]  # instead of the one
