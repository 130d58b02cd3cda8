"""The command line against the whole of `chatsphere up`, each command as a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from tests.pdf_files import a_pdf
from tests.replay.scenarios import HISTORIES
from tests.servers import ROOT, free_port, scratch_folder
from tests.stack import Stack, stack

PASSWORD = "correct horse battery staple"
TOOLS = "A hammer drives nails. A saw cuts wood. The blue key opens the garden shed.\n" * 3


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ran."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs commands with one configuration."""

    environment: dict[str, str]

    async def run(self, *arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", *arguments, cwd=ROOT, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


def a_shell(home: Path, **settings: str) -> Shell:
    ours = ("CHATSPHERE_", "TEMPORAL_", "XDG_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    wide = {"COLUMNS": "200", "TERM": "dumb", "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    return Shell({**inherited, **wide, **settings})


@pytest_asyncio.fixture(scope="module")
async def running() -> AsyncIterator[Stack]:
    async with stack() as running:
        await running.start()
        await running.ready()
        yield running


@pytest_asyncio.fixture(scope="module")
async def shell(running: Stack) -> AsyncIterator[Shell]:
    """Signed in at the running stack."""
    with scratch_folder("home") as home:
        shell = a_shell(home, CHATSPHERE_PASSWORD=PASSWORD, **running.settings)
        ended = await shell.run("login", "--email", "ada@example.com", "--register")
        assert ended.code == 0, ended.err
        yield shell


def test_the_key_that_login_stores_is_for_its_owner_only(shell: Shell) -> None:
    (file,) = Path(shell.environment["XDG_CONFIG_HOME"]).rglob("credentials.json")
    assert file.stat().st_mode & 0o077 == 0
    assert PASSWORD not in file.read_text()


async def test_a_folder_is_ingested_asked_and_not_stored_twice(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "tools.txt").write_text(TOOLS)
    (tmp_path / "garden.md").write_text("# Garden\n\nRoses want water in the morning.\n")
    (tmp_path / ".hidden").write_text("not meant")
    for _ in range(2):
        ended = await shell.run("ingest", str(tmp_path), "--bot", "Handy")
        assert ended.code == 0, ended.out + ended.err
        assert "2 of 2 documents are ready" in ended.out
    listed = json.loads((await shell.run("status", "--bot", "Handy", "--json")).out)
    assert sorted(each["name"] for each in listed[0]["documents"]) == ["garden.md", "tools.txt"]
    asked = await shell.run("ask", "What opens the garden shed?", "--bot", "Handy")
    assert asked.code == 0, asked.err
    assert "blue key" in asked.out
    assert "tools.txt" in asked.out


async def test_what_needs_attention_is_told_shown_and_taken_up_again(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(a_pdf([""]))
    ended = await shell.run("ingest", str(tmp_path), "--bot", "Scans")
    assert ended.code == 1
    assert "no_text" in ended.out
    shown = await shell.run("status", "--bot", "Scans")
    assert "no_text" in shown.out
    assert "chatsphere retry --all-parked" in shown.out
    retried = await shell.run("retry", "--all-parked", "--bot", "Scans")
    assert (retried.code, "1 of 1 taken up again" in retried.out) == (0, True), retried.err
    document = json.loads((await shell.run("status", "--bot", "Scans", "--json")).out)[0]["documents"][0]["id"]
    flight = await shell.run("status", document)
    assert "extract" in flight.out


async def test_a_file_that_is_refused_is_named_and_the_others_go_on(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "good.txt").write_text("A sentence about lighthouses.")
    ended = await shell.run("ingest", str(tmp_path), "--bot", "Mixed")
    assert ended.code == 1
    assert "1 of 1 documents are ready" in ended.out
    assert "empty.txt" in ended.out


async def test_many_files_go_in_packs_and_each_that_does_not_says_why(shell: Shell, tmp_path: Path) -> None:
    for number in range(24):
        (tmp_path / f"note-{number}.txt").write_text(f"Note {number}: the drawer {number} opens with key {number * 7}.")
    (tmp_path / "note-twin.txt").write_text("Note 3: the drawer 3 opens with key 21.")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    for _ in range(2):  # the second time all of it is there, and what is wrong is wrong still
        ended = await shell.run("ingest", str(tmp_path), "--bot", "Notes")
        assert "25 of 26 documents are ready" in ended.out, ended.out + ended.err
        assert "corrupt_file" in ended.out
        assert "empty.txt" in ended.out
        assert ended.code == 1


async def test_doctor_finds_everything_well_on_a_running_stack(shell: Shell) -> None:
    ended = await shell.run("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(ended.out)}
    assert [name for name, finding in findings.items() if finding["mark"] == "failed"] == []
    assert ended.code == 0
    assert {
        "Postgres",
        "pgvector",
        "migrations",
        "Temporal",
        "queue models",
        "blobs",
        "text recognition",
        "API",
    } <= findings.keys()


async def test_a_run_of_the_server_replays(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Something about windmills.")
    await shell.run("ingest", str(tmp_path), "--bot", "Replayed")
    document = json.loads((await shell.run("status", "--bot", "Replayed", "--json")).out)[0]["documents"][0]["id"]
    ended = await shell.run("replay", document)
    assert ended.code == 0, ended.err
    assert "1 replayed, 0 differ" in ended.out


# Without a stack


async def test_a_history_that_this_code_would_not_repeat_is_named(tmp_path: Path) -> None:
    recorded = next(HISTORIES.glob("ingestion_success*.json"))
    ended = await a_shell(tmp_path).run("replay", str(recorded))
    assert (ended.code, "0 differ" in ended.out) == (0, True), ended.err
    other = recorded.read_text().replace('"name": "extract"', '"name": "extract_otherwise"')
    assert other != recorded.read_text()
    (tmp_path / "other.json").write_text(other)
    ended = await a_shell(tmp_path).run("replay", str(tmp_path / "other.json"))
    assert ended.code == 1
    assert "workflow.patched" in ended.err


async def test_what_happens_after_a_command_is_done_does_not_change_its_exit_code(tmp_path: Path) -> None:
    """On Python 3.11 threads of Temporal's SDK were seen to abort a process whose interpreter was going down."""
    (tmp_path / "no.json").write_text(next(HISTORIES.glob("ingestion_success*.json")).read_text())
    program = (
        "import atexit, os, runpy, sys; atexit.register(os.abort); "
        f"sys.argv = ['chatsphere', 'replay', {str(tmp_path / 'no.json')!r}]; runpy.run_module('cli', run_name='__main__')"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, env=a_shell(tmp_path).environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (process.returncode, "1 replayed, 0 differ" in out.decode()) == (0, True)


async def test_doctor_names_what_is_away_and_what_to_do(tmp_path: Path) -> None:
    nowhere = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/nothing"
    address = f"127.0.0.1:{free_port()}"
    ended = await a_shell(
        tmp_path, CHATSPHERE_DATABASE_URL=nowhere, TEMPORAL_ADDRESS=address, CHATSPHERE_API_PORT=str(free_port()),
        CHATSPHERE_BLOB_DIR=str(tmp_path / "blobs"), CHATSPHERE_OCR_LANGUAGES="none",
    ).run("doctor", "--json")  # fmt: skip
    assert ended.code == 1
    assert "To mend: Postgres, Temporal, API." in ended.err
    findings = {finding["what"]: finding for finding in json.loads(ended.out)}
    assert "CHATSPHERE_DATABASE_URL" in findings["Postgres"]["advice"]
    assert findings["text recognition"]["mark"] == "warning"
    assert "Tesseract" in findings["text recognition"]["advice"]


async def test_commands_without_an_api_or_a_key_say_what_to_do(tmp_path: Path) -> None:
    port = str(free_port())
    shell = a_shell(tmp_path, CHATSPHERE_API_PORT=port, CHATSPHERE_PASSWORD=PASSWORD)
    assert "chatsphere login" in (await shell.run("status")).err
    away = await a_shell(tmp_path, CHATSPHERE_API_PORT=port, CHATSPHERE_KEY="cs_x").run("status")
    assert (away.code, "No API answers" in away.err) == (1, True)
    missing = await shell.run("ingest", str(tmp_path / "not-there"))
    assert (missing.code, "is not there" in missing.err) == (2, True)
    assert (await shell.run("retry")).code == 2
