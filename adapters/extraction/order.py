"""A job as it is written to the zygote, and the names of the readers."""

from typing import TypedDict

PDFIUM, PYPDF = "pdfium", "pypdf"
CALAMINE, OPENPYXL = "calamine", "openpyxl"
ONLY = "only"  # of a format that has one reader


class Order(TypedDict):
    """One document to read, with its limits."""

    job: int
    source: str
    target: str
    format: str
    reader: str
    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    pages: int
    output_bytes: int
    archive_entries: int
    archive_bytes: int
    archive_ratio: int
    encoding: str | None
