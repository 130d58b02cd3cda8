"""A watched program: started again, listened to, ended whole."""

import asyncio
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from adapters.embedded.console import Log
from adapters.embedded.process import Child, Program
from adapters.embedded.state import StateFolder
from adapters.embedded.waiting import is_alive, within


class Bench:
    """Programs in Python, and what they and their watcher print."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateFolder(folder)
        self._printed = io.StringIO()
        self._log = Log(Console(file=self._printed, soft_wrap=True, width=4000))

    def child(self, code: str, *, grace: float = 10.0) -> Child:
        command = [sys.executable, "-u", "-c", code]
        return Child(Program("sample", command, dict(os.environ), self.folder, grace=grace), self.state, self._log)

    @property
    def printed(self) -> str:
        return self._printed.getvalue()

    async def sees(self, text: str, times: int = 1) -> None:
        async def seen() -> bool:
            return self.printed.count(text) >= times

        assert await within(60, seen, every=0.01), self.printed


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_program_that_ends_is_named_with_its_exit_code_and_started_again(bench: Bench) -> None:
    child = bench.child("print('hello'); raise SystemExit(7)")
    await child.start()
    await bench.sees("hello", times=2)
    await child.stop()
    assert "sample ended by itself with exit code 7; it is started again in 0.5 s." in bench.printed
    assert child.deaths >= 1


async def test_a_program_that_is_killed_is_named_with_the_signal(bench: Bench) -> None:
    child = bench.child("import os; os.kill(os.getpid(), 9)")
    await child.start()
    await bench.sees("sample was killed by SIGKILL")
    await child.stop()


async def test_a_program_may_end_in_its_own_time(bench: Bench) -> None:
    child = bench.child(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('put away'), sys.exit()))\n"
        "print('up')\nsignal.pause()"
    )
    await child.start()
    await bench.sees("up")
    await child.stop()
    assert "put away" in bench.printed
    assert "started again" not in bench.printed


async def test_a_program_that_does_not_listen_is_killed_with_its_children(bench: Bench) -> None:
    child = bench.child(
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('grandchild', subprocess.Popen(['sleep', '600']).pid, '.')\nsignal.pause()",
        grace=0.2,
    )
    await child.start()
    await bench.sees(" .")
    grandchild = psutil.Process(int(bench.printed.split()[-2]))
    await child.stop()
    assert "sample did not stop within" in bench.printed
    assert await within(60, lambda: _is_gone(grandchild))


async def test_a_grandchild_that_holds_the_output_does_not_hide_the_death(bench: Bench) -> None:
    child = bench.child(
        "import subprocess; print('left', subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    )
    await child.start()
    await bench.sees("started again")
    await child.stop()
    for pid in re.findall(r"left (\d+)", bench.printed):
        psutil.Process(int(pid)).kill()


async def test_a_line_without_an_end_is_printed_and_not_kept_for_ever(bench: Bench) -> None:
    child = bench.child("import sys, signal; sys.stdout.write('x' * (3 << 20) + '\\nend\\n'); signal.pause()")
    await child.start()
    await bench.sees("end")
    await child.stop()
    assert bench.printed.count("x") == 3 << 20


async def test_bytes_that_are_no_text_do_not_stop_the_log(bench: Bench) -> None:
    child = bench.child("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n'); print('after')")
    await child.start()
    await bench.sees("after")
    await child.stop()


async def test_what_a_killed_run_left_is_stopped_and_a_number_used_again_is_not(bench: Bench) -> None:
    shell = await asyncio.create_subprocess_shell("sleep 600 >/dev/null & echo $!", stdout=asyncio.subprocess.PIPE)
    output, _ = await shell.communicate()
    left = psutil.Process(int(output))  # as after a kill, its parent is gone
    bystander = await asyncio.create_subprocess_exec("sleep", "600")
    bench.state.started("left", left.pid, signal.SIGTERM)
    bench.state.started("other", bystander.pid, signal.SIGTERM)
    record = bench.folder / "processes.json"
    entries = json.loads(record.read_text())
    entries[1]["created"] -= 100
    record.write_text(json.dumps(entries))
    stopped = await asyncio.to_thread(StateFolder(bench.folder).stop_leftovers)
    assert [process.name for process in stopped] == ["left"]
    assert not is_alive(left)
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def _is_gone(process: psutil.Process) -> bool:
    return not is_alive(process)
