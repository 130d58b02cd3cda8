"""Times that come from outside."""

import pytest
from pydantic import TypeAdapter, ValidationError

from domain.moments import Moment

READ = TypeAdapter(Moment)


def test_a_time_is_kept_in_utc() -> None:
    assert READ.validate_python("2026-01-01T00:30:00+02:00").isoformat() == "2025-12-31T22:30:00+00:00"
    assert READ.validate_python("9999-12-31T23:59:59Z").year == 9999


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00"])
def test_a_time_that_utc_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python(text)
