"""OpenAI's filters as filters of documents."""

from typing import Any

import pytest

from domain.errors import InvalidRequest
from domain.file_filters import read_filter


def compare(kind: str, key: str, value: object) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


def both(*filters: object) -> dict[str, Any]:
    return {"type": "and", "filters": list(filters)}


def test_comparisons_joined_by_and_are_conditions() -> None:
    given = both(compare("eq", "team", "HR"), both(compare("gte", "year", 2020), compare("lt", "year", 2026)))
    assert read_filter(given).model_dump(exclude_defaults=True)["metadata"] == {
        "team": "HR", "year": {"gte": 2020, "lt": 2026},
    }  # fmt: skip
    assert read_filter(compare("in", "team", ["HR", "IT"])).metadata == {"team": ("HR", "IT")}
    assert read_filter(None).metadata_path() is None


@pytest.mark.parametrize(
    "given",
    [
        compare("ne", "team", "HR"),
        {"type": "or", "filters": [compare("eq", "team", "HR")]},
        both(compare("eq", "team", "HR"), compare("eq", "team", "IT")),
        both(compare("gt", "year", 1), compare("gt", "year", 2)),
        both("team"),
        compare("eq", "team", {"a": 1}),
        {"type": "eq", "value": 1},
    ],
)
def test_what_documents_are_not_filtered_by_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_filter(given)
    assert refused.value.param == "filters"
