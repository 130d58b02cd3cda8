"""What a person at the keyboard of `make up` relies on."""

import asyncio
import gc
import io
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from rich.console import Console

from adapters.embedded.console import Log
from adapters.embedded.process import Child, Program
from adapters.embedded.settings import StackSettings
from adapters.embedded.state import StateFolder
from adapters.embedded.supervisor import StartFailed, Supervisor
from adapters.embedded.waiting import is_alive, within
from tests.servers import ROOT, free_port
from tests.stack import Stack, stack

ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery"}


@pytest_asyncio.fixture(scope="module")
async def running() -> AsyncIterator[Stack]:
    """One stack for the tests that leave it running."""
    async with stack() as one:
        await one.start()
        await one.ready()
        yield one


async def can_log_in(one: Stack) -> bool:
    async with one.client() as http:
        form = {"username": ACCOUNT["email"], "password": ACCOUNT["password"]}
        return (await http.post("/api/v1/auth/token", data=form)).status_code == 200


@pytest.mark.parametrize("setting", ["POSTGRES_PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT", "API_PORT"])
async def test_a_port_in_use_is_a_sentence_that_names_the_setting(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with stack(**{setting: str(port)}) as one:
            await one.start()
            assert await one.ends() == 1
    text = "\n".join(one.lines)
    assert f"Port {port} is in use by" in text
    assert f"CHATSPHERE_{setting}=" in text
    assert "Traceback" not in text


async def test_a_bad_setting_is_a_sentence_without_its_value() -> None:
    async with stack(API_PORT="eight thousand", PROVIDER="gemini") as one:
        await one.start()
        assert await one.ends() == 2
    text = "\n".join(one.lines)
    assert "CHATSPHERE_API_PORT: " in text
    assert "eight thousand" not in text


async def test_it_says_where_everything_is_and_how_to_change_the_provider(running: Stack) -> None:
    text = "\n".join(running.lines)
    assert f"{running.url}/docs" in text
    assert f"http://127.0.0.1:{running.settings['CHATSPHERE_TEMPORAL_UI_PORT']}" in text
    assert "local: no key, no network" in text
    assert "CHATSPHERE_PROVIDER=gemini CHATSPHERE_GEMINI_API_KEY=<key>" in text


async def test_secrets_are_for_the_owner_only(running: Stack) -> None:
    for name in ("secret_key", "postgres_password", "processes.json"):
        assert (running.folder / name).stat().st_mode & 0o077 == 0
    assert not any(word in " ".join(running.lines) for word in _secrets(running))
    for process in running.started().values():
        assert not any(word in " ".join(process.cmdline()) for word in _secrets(running))


async def test_a_second_start_on_the_same_folder_is_a_sentence(running: Stack) -> None:
    second = Stack(running.folder)
    await second.start()
    try:
        assert await second.ends() == 1
        assert "ChatSphere already runs on" in "\n".join(second.lines)
    finally:
        await second.close()
    assert set(running.started()) == {"temporal", "postgres", "worker", "api"}


async def test_the_demo_shows_the_main_job_against_it(running: Stack) -> None:
    code, printed = await demo(running.url)
    assert code == 0, printed
    assert "3 pages" in printed
    assert "twelve books" in printed
    assert printed.count("library-handbook.pdf") == 3  # the upload, and a citation for each answer


async def test_the_demo_without_an_api_says_what_to_start_first() -> None:
    code, printed = await demo(f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "Start it first in another terminal: make up" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("name", ["worker", "api", "temporal", "postgres"])
async def test_a_process_that_dies_is_named_and_started_again_and_the_others_go_on(running: Stack, name: str) -> None:
    before, seen = running.started(), len(running.lines)
    before[name].kill()
    await running.sees(f"{name} was killed by SIGKILL", after=seen)

    async def works_again() -> bool:
        return running.started().get(name, before[name]) != before[name] and await is_ready(running)

    assert await within(60, works_again)
    others = before.keys() - {name}
    assert {other: running.started()[other].pid for other in others} == {other: before[other].pid for other in others}


async def test_data_outlives_a_stop_and_a_kill_and_no_process_does() -> None:
    async with stack() as one:
        await one.start()
        await one.ready()
        async with one.client() as http:
            assert (await http.post("/api/v1/auth/register", json=ACCOUNT)).status_code == 201
        first = one.started()
        bystander = await asyncio.create_subprocess_exec("sleep", "600")
        assert await one.send(signal.SIGINT) == 0
        assert not any(is_alive(process) for process in first.values())
        assert bystander.returncode is None

        await one.start()
        await one.ready()
        assert await can_log_in(one)
        left = one.started()
        await one.send(signal.SIGKILL)
        assert any(is_alive(process) for process in left.values())

        await one.start()
        await one.sees("Stopped worker", "which a killed run had left")
        await one.ready()
        assert await can_log_in(one)
        assert not any(is_alive(process) for process in left.values())
        bystander.kill()
        await bystander.wait()


async def test_it_stops_what_it_started_also_where_nobody_reads_its_log_any_more() -> None:
    async with stack() as one:
        await one.start()
        await one.ready()
        children = one.started()
        one.hang_up()
        assert await one.send(signal.SIGTERM) == 0
        assert not [name for name, process in children.items() if is_alive(process)]


class _Counted(Supervisor):
    """Starts nothing; the worker dies so often before the stack is ready, and the rest of the times after that."""

    def __init__(self, folder: Path, *, before: int, after: int) -> None:
        settings, log = StackSettings.model_construct(), Log(Console(file=io.StringIO()))
        super().__init__(settings, StateFolder(folder), log)
        program = Program("worker", [], {}, folder)
        self._dying, self._before, self._after = Child(program, StateFolder(folder), log), before, after

    async def watch(self) -> None:
        await self._start_unless_told_to_stop()
        self._die(self._after)

    async def _start(self) -> None:
        self._die(self._before)
        await asyncio.sleep(0)

    def _die(self, times: int) -> None:
        for _ in range(times):
            self._dying.deaths += 1
            self._count(self._dying)


@pytest.mark.parametrize(("before", "after"), [(0, 5), (3, 1), (3, 9)])
async def test_deaths_of_a_stack_that_was_ready_are_not_counted(tmp_path: Path, before: int, after: int) -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    await _Counted(tmp_path, before=before, after=after).watch()
    await asyncio.sleep(0)  # what was cancelled ends
    gc.collect()
    assert unheard == []


async def test_a_program_that_cannot_stay_up_ends_the_start_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="worker ended 4 times before the stack was ready"):
        await _Counted(tmp_path, before=4, after=0).watch()


async def demo(url: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "demo.py", "--url", url, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def is_ready(one: Stack) -> bool:
    try:
        async with one.client() as http:
            return (await http.get("/readyz")).status_code == 200
    except httpx2.HTTPError:
        return False


def _secrets(one: Stack) -> list[str]:
    return [(one.folder / name).read_text() for name in ("secret_key", "postgres_password")]
