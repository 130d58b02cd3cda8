"""The page of promises names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "pains.md").read_text()
ROWS = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`([\w/.]+\.py)::(\w+)`", PAGE)))


def test_each_of_the_reports_has_its_tests() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 30))
    assert [number for number, tests in ROWS if not re.search(r"`[\w/.]+\.py::test_\w+`", tests)] == []


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"
