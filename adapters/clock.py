"""The clock."""

from datetime import UTC, datetime


def now() -> datetime:
    """Read the time, aware, in UTC."""
    return datetime.now(UTC)
