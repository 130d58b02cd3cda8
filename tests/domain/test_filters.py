"""What metadata may be, and what is asked of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.errors import InvalidRequest
from domain.filters import EVERYTHING, DocumentFilter, checked_metadata, read_condition, read_metadata


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"a": null}', '{"a": {"b": 1}}', '{"": 1}', '{"a": [[1]]}', '{"a": NaN}',
                                  '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a\\u0000": 1}', "[" * 20_000])  # fmt: skip
def test_metadata_that_cannot_be_filtered_by_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_metadata(text)
    assert refused.value.param == "metadata"


def test_metadata_is_bounded() -> None:
    fits = {str(number): "x" * 512 for number in range(32)}
    assert checked_metadata(fits) == fits
    for value in ({**fits, "one": 1}, {"a": "x" * 513}, {"a" * 65: 1}, {"a": list(range(65))}):
        with pytest.raises(InvalidRequest):
            checked_metadata(value)


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"year": 2026}, '($."year" == 2026)'),
        ({"done": True}, '($."done" == true)'),
        ({"tag": ["a", 'b" || true']}, r'($."tag" == "a" || $."tag" == "b\" || true")'),
        ({"year": {"gte": 2020, "lt": 2026}}, 'exists($."year" ? (@ >= 2020 && @ < 2026))'),
        ({"day": {"gt": '") || (1'}, "done": True}, r'exists($."day" ? (@ > "\") || (1")) && ($."done" == true)'),
        ({'k" || 1 == 1 || $."': "v"}, r'($."k\" || 1 == 1 || $.\"" == "v")'),
        ({}, None),
    ],
)
def test_conditions_become_a_path_that_quotes_what_it_is_given(metadata: dict[str, Any], path: str | None) -> None:
    assert DocumentFilter(metadata=metadata).metadata_path() == path


@pytest.mark.parametrize(
    "value",
    [
        {"metadata": {"a": None}}, {"metadata": {"a": {}}}, {"metadata": {"a": {"eq": 1}}}, {"metadata": {"a": []}},
        {"metadata": {"a": {"gt": True}}}, {"metadata": {"a": {"gt": [1]}}}, {"metadata": []}, {"document_ids": []},
        {"created_after": "2026-01-01T00:00:00"}, {"name": "a"},
    ],
)  # fmt: skip
def test_a_filter_that_says_nothing_clear_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        DocumentFilter.model_validate(value)
    assert len(refused.value.errors()) == 1


def test_a_filter_survives_its_way_through_the_database() -> None:
    wanted = DocumentFilter.model_validate(
        {
            "metadata": {"a": ["x", 1, True], "b": {"gt": "2026-01-01"}, "c": 1.5},
            "created_after": "2026-01-01T00:00:00Z",
        }
    )
    assert DocumentFilter.model_validate(wanted.model_dump(mode="json", exclude_defaults=True)) == wanted
    assert EVERYTHING.model_dump(mode="json", exclude_defaults=True) == {}


def test_a_condition_in_a_query_says_what_it_should_have_been() -> None:
    assert (
        read_condition('{"year": {"gte": 2020}}', param="metadata")
        == DocumentFilter(metadata={"year": {"gte": 2020}}).metadata
    )
    with pytest.raises(InvalidRequest, match="bounds by gt"):
        read_condition('{"year": {}}', param="metadata")
    with pytest.raises(InvalidRequest, match="JSON"):
        read_condition("{", param="metadata")
