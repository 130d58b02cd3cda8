"""The locks: every package pinned and hashed, no address in them, and all that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_INSTALLED_WITH_DEPENDENCIES = "requirements-nodeps.txt"
RIVALS = "requirements-rivals.txt"


def pinned(lock: str) -> set[str]:
    """Names of the packages in a lock; whatever is no pin with hashes is an error."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    names = set()
    for entry in text.replace("\\\n", " ").splitlines():
        if entry.strip():
            match = re.fullmatch(
                r"([a-z0-9.-]+)(?:\[[a-z,]+\])?==\S+(?:\s*;[^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry
            )
            assert match, entry[:120]
            names.add(match[1])
    return names


def asked(*requirements: str) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt", NOT_INSTALLED_WITH_DEPENDENCIES, RIVALS])
def test_a_lock_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert pinned(lock)


def test_all_that_is_asked_for_is_locked() -> None:
    services = asked(*PROJECT["project"]["dependencies"])
    tools = asked(*(name for group in PROJECT["dependency-groups"].values() for name in group))
    assert services - pinned("requirements.txt") == set()
    assert services | tools <= pinned("requirements-dev.txt")
    assert pinned("requirements.txt") <= pinned("requirements-dev.txt")


def test_the_rivals_of_the_bench_are_locked_apart_and_bring_no_torch() -> None:
    lines = (ROOT / "bench" / "rivals" / "requirements.in").read_text().splitlines()
    rivals = asked(*(line for line in lines if line and not line.startswith("#")))
    assert {"celery", "haystack-ai", "langchain-postgres", "llama-index-core"} <= rivals
    assert rivals - pinned(RIVALS) == set()
    assert {name for name in pinned(RIVALS) if name == "torch" or name.startswith("nvidia-")} == set()
