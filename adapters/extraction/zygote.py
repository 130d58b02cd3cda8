"""Forks a child per document. Starting Python and loading PDFium is paid once, not per document.

Commands come as JSON lines on stdin: `{"run": Order}`, `{"kill": job}`. Events go as JSON lines to
stdout: `{"ready": true}`, `{"job", "pid"}`, `{"job", "progress"}`, `{"job", "done" | "error" | "broke"}`,
and last `{"job", "exit": {"status", "signal", "peak_bytes", "cpu_seconds"}}`. The end of stdin, so
also the sudden death of the worker, kills every child and ends the process. It has one thread: that
is what makes the fork safe.
"""

import contextlib
import gc
import json
import os
import select
import signal
import sys

from adapters.extraction.child import run
from adapters.extraction.order import Order

_INPUT = 0
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


class Zygote:
    """Runs children until stdin ends."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._jobs: dict[int, int] = {}  # pid to job
        self._pending = b""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> None:
        """Take commands and deaths in turn."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._say(ready=True)
        poll = select.poll()
        poll.register(_INPUT, select.POLLIN | select.POLLHUP)
        poll.register(self._wake_read, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                    self._reap()
                if _INPUT in ready and not self._commands():
                    return
        finally:
            for pid in self._jobs:
                os.kill(pid, signal.SIGKILL)

    def _commands(self) -> bool:
        data = os.read(_INPUT, 1 << 16)
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "run" in command:
                self._fork(command["run"])
            else:
                self._kill(command["kill"])
        return bool(data)

    def _fork(self, order: Order) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(order, parent)
        self._jobs[pid] = order["job"]
        self._say(job=order["job"], pid=pid)

    def _become_child(self, order: Order, parent: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self._wake_read)
            os.close(self._wake_write)
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            run(order, self._channel, parent)
        finally:
            os._exit(0)

    def _kill(self, job: int) -> None:
        # A pid is in the table until it is reaped, so it is no other process's.
        for pid, running in self._jobs.items():
            if running == job:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self._jobs:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            ended = {
                "status": max(code, 0),
                "signal": max(-code, 0),
                "peak_bytes": usage.ru_maxrss * _PEAK_UNIT,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
            }
            self._say(job=self._jobs.pop(pid), exit=ended)

    def _say(self, **fields: object) -> None:
        os.write(self._channel, json.dumps(fields).encode() + b"\n")


def main() -> None:
    """Keep the real stdout for events; nothing else may write there."""
    channel = os.dup(1)
    os.dup2(2, 1)
    gc.disable()
    gc.freeze()
    with contextlib.suppress(BrokenPipeError):  # the worker is gone
        Zygote(channel).serve()


if __name__ == "__main__":
    main()
