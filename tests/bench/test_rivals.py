"""How the bench talks to its rivals, and what it makes of their seconds."""

import sys
from pathlib import Path

import pytest

from bench.rivals import process
from bench.rivals.measure import PROGRAMS, Taken, jobs, rows_of
from bench.rivals.process import RivalFailed, rival


def taken(**seconds: float) -> dict[str, list[Taken]]:
    names = {"bare": "the bare pipeline", "ours": "ChatSphere", "bulk": "ChatSphere in one bulk import"}
    return {names.get(name, name): [Taken(value, chunks=900, calls=9)] for name, value in seconds.items()}


def marks(number: int, seconds: dict[str, list[Taken]]) -> dict[str, bool | None]:
    return {row.name: row.met for row in rows_of(jobs(1, 200)[number], seconds)}


def test_a_target_against_langchain_depends_on_the_reader() -> None:
    times = taken(bare=0.85, ours=1.0) | {
        "LangChain, pypdf": [Taken(3.9, 900, 9)],
        "LangChain, pypdfium2": [Taken(2.6, 900, 9)],
    }
    assert marks(0, times) == {
        "the bare pipeline": None, "ChatSphere": True, "LangChain, pypdf": False, "LangChain, pypdfium2": True,
    }  # fmt: skip


def test_what_durability_adds_to_one_page_is_the_difference_to_bare() -> None:
    assert marks(2, taken(bare=0.010, ours=0.054))["ChatSphere"] is True
    assert marks(2, taken(bare=0.010, ours=0.056))["ChatSphere"] is False


def test_small_documents_are_held_against_the_bulk_import() -> None:
    times = taken(bare=2.0, ours=9.0, bulk=3.0) | {
        "BackgroundTasks, pypdf": [Taken(4.0, 900, 9)], "Celery, pypdf (broker: redis)": [Taken(2.9, 900, 9)],
    }  # fmt: skip
    assert marks(3, times) == {
        "the bare pipeline": None, "ChatSphere": False, "ChatSphere in one bulk import": True,
        "BackgroundTasks, pypdf": True, "Celery, pypdf (broker: redis)": False,
    }  # fmt: skip


def test_a_row_gives_the_median_and_what_was_stored() -> None:
    times = taken(bare=1.0) | {"ChatSphere": [Taken(value, 892, 9) for value in (9.0, 2.0, 1.0)]}
    row = rows_of(jobs(3, 200)[0], times)[1]
    assert row.value == "2.00 s; 892 chunks, 9 calls"
    assert row.ratio == "0.50 of its speed"


def test_every_rival_has_a_program_and_every_program_a_rival() -> None:
    folder = Path(process.__file__).parent / "programs"
    shared = {"__init__", "orm", "protocol"}
    assert {path.stem for path in folder.glob("*.py")} - shared == {program for program, _, _ in PROGRAMS}


async def test_a_rival_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PYTHON", Path(sys.executable))
    with pytest.raises(RivalFailed, match=r"(?s)nobody did not answer.*No module named"):
        async with rival("nobody", database_url="", models_url=""):
            pass


async def test_without_their_environment_the_command_that_makes_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "PYTHON", tmp_path / "python")
    with pytest.raises(RivalFailed, match="make bench-rivals"):
        async with rival("langchain", database_url="", models_url=""):
            pass
