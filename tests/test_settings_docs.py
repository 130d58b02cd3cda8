"""The pages for operators name every setting with its default, and every code that a person can see."""

import re
from pathlib import Path

import pytest

from adapters.embedded.settings import StackSettings
from adapters.settings import Settings
from domain import errors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROWS = dict(
    re.findall(r"^\| `CHATSPHERE_([A-Z_]+)` \| (?:`([^`]+)`|none) \|", (DOCS / "settings.md").read_text(), re.M)
)
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
ELSEWHERE = {"URL", "KEY", "PASSWORD", "POSTGRES_PASSWORD", "API_ADDRESS", "CORPUS"}  # of cli/, compose and the tests
# Raised to whoever comes late inside, or the base of others: nobody is shown these.
INTERNAL = {"invalid_input", "fetch_failed", "crawl_closed", "ingestion_closed", "turn_closed"}


def test_every_setting_is_on_its_page_and_no_other() -> None:
    assert {name.lower() for name in ROWS} == Settings.model_fields.keys()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_page_gives_the_default_of_a_setting(name: str) -> None:
    default, written = Settings.model_fields[name].default, ROWS[name.upper()]
    if not written:
        assert default in (None, "")
    else:
        assert getattr(Settings.model_validate({name: written}), name) == default


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_setting_that_is_not_there(page: Path) -> None:
    known = {name.upper() for name in Settings.model_fields.keys() | StackSettings.model_fields.keys()} | ELSEWHERE
    named = set(re.findall(r"CHATSPHERE_([A-Z_]*[A-Z])(?![A-Z_*])", page.read_text()))
    assert named - known == set()


def every_code(kind: type[errors.DomainError] = errors.DomainError) -> set[str]:
    return {kind.code}.union(*(every_code(each) for each in kind.__subclasses__()))


def test_every_code_is_explained_to_those_who_see_it() -> None:
    pages = "".join((DOCS / name).read_text() for name in ("api.md", "openai.md", "operations.md"))
    assert {code for code in every_code() - INTERNAL if f"`{code}`" not in pages} == set()
