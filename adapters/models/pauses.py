"""How long a provider asks to be left alone, as its headers say."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def pause_of(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """Read `retry-after-ms`, or `Retry-After` in seconds or as a date; None where nothing is told."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return timedelta(milliseconds=milliseconds)
    told = headers.get("retry-after", "")
    seconds = _number(told)
    if seconds is not None:
        return timedelta(seconds=seconds)
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now, timedelta(0))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text.strip()) else None
