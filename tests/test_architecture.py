"""What the folders promise: steps and activities agree, files stay small, the noun is the file's name."""

import inspect
import re
import typing
from pathlib import Path

import pytest
from temporalio import activity

from activities.registry import CAPABILITIES
from domain.steps import STEPS, Step

ROOT = Path(__file__).parents[1]
PACKAGES = ("domain", "workflows", "activities", "adapters", "api", "cli", "migrations")
# A list of tables, of codes or of ports reads better in one piece than cut in two.
LONG_FOR_A_REASON = {
    "adapters/postgres/tables.py",
    "domain/errors.py",
    "domain/ports.py",
    "domain/steps.py",
    "migrations/versions/0001_first_schema.py",
}
_SILENCED = re.compile(r"# (?:noqa: [A-Z0-9, ]*[A-Z0-9]|type: ignore\[[\w, -]+\])(?P<why>\s+\(.+\)|\s+# (?!fmt).+)?")


def implemented() -> dict[str, typing.Callable[..., object]]:
    found: dict[str, typing.Callable[..., object]] = {}
    for capability in CAPABILITIES:
        for _, method in inspect.getmembers(capability, inspect.isfunction):
            definition = activity._Definition.from_callable(method)
            if definition is not None and definition.name is not None:
                found[definition.name] = method
    return found


def test_every_step_has_one_activity_and_every_activity_is_a_step() -> None:
    assert sorted(implemented()) == sorted(step.name for step in STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_an_activity_takes_and_gives_what_its_step_says(step: Step[typing.Any, typing.Any]) -> None:
    method = implemented()[step.name]
    hints = typing.get_type_hints(method)
    given = hints.pop("return")
    assert [*hints.values()] == [step.input]
    assert given is step.output


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert set(long) - LONG_FOR_A_REASON == set()


def test_the_worker_stays_under_sixty_lines() -> None:
    assert len((ROOT / "worker.py").read_text().splitlines()) < 60


def test_each_migration_follows_the_one_before_in_the_order_of_their_names() -> None:
    said = [
        (path.name[:4], *re.findall(r'^(?:down_)?revision = "?(\w+)"?$', path.read_text(), re.MULTILINE))
        for path in sorted((ROOT / "migrations" / "versions").glob("0*.py"))
    ]
    former = ["None", *(name for name, *_ in said)]
    assert said == [(name, name, before) for (name, *_), before in zip(said, former, strict=False)]


def test_each_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    titled = [re.match(r"# (\d+)\. ", page.read_text()) for page in pages]
    assert [title and int(title[1]) for title in titled] == list(range(1, len(pages) + 1))


def test_no_file_is_named_for_nothing() -> None:
    vague = {"utils", "helpers", "common", "manager", "misc"}
    assert [str(path) for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stem in vague] == []


def test_whoever_silences_a_guard_says_why() -> None:
    """On the line itself, or in a comment right above it."""
    silent = []
    paths = [p for package in (*PACKAGES, "tests") for p in (ROOT / package).rglob("*.py")]
    for path in [*paths, *ROOT.glob("*.py")]:
        above = ""
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            silenced = _SILENCED.search(line)
            if silenced and not silenced["why"] and not above.strip().startswith("#"):
                silent.append(f"{path.relative_to(ROOT)}:{number}")
            above = line
    assert silent == [], silent
