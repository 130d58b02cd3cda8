"""The bench's tables."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.__main__ import PARTS
from bench.report import Row, markdown, write_section

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ROW = Row("one page", "20 ms", "bare 10 ms", "2.00", "≤ 45 ms", met=True)


def test_a_part_replaces_its_own_section_of_a_page_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- bench a -->\nold\n<!-- /bench a -->\n<!-- bench b -->\nkept\n<!-- /bench b -->\nafter\n"
    )
    write_section(page, "a", [ROW], now=NOW)
    text = page.read_text()
    assert text.startswith("before\n<!-- bench a -->\nTaken on 2026-11-21 on ")
    assert text.endswith("\n<!-- /bench a -->\n<!-- bench b -->\nkept\n<!-- /bench b -->\nafter\n")
    assert "| one page | 20 ms | bare 10 ms | 2.00 | ≤ 45 ms | met |" in text
    assert "old" not in text


def test_a_page_without_the_section_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="no section"):
        write_section(page, "a", [ROW], now=NOW)
    assert page.read_text() == "nothing here"


def test_a_group_is_named_once_above_its_rows() -> None:
    rows = [Row("x", "1"), Row("y", "2", group="small"), Row("z", "3", group="small"), Row("y", "4", group="large")]
    lines = markdown(rows).splitlines()[2:]
    names = [line.split("|")[1].strip() for line in lines]
    assert names == ["x", "**small**", "y", "z", "**large**", "y"]
    assert {line.count("|") for line in lines} == {7}


def test_the_performance_page_has_a_section_for_each_part() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "performance.md").read_text()
    for part in PARTS:
        assert page.count(f"<!-- bench {part} -->") == page.count(f"<!-- /bench {part} -->") == 1, part
