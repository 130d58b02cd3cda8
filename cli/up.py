"""`chatsphere up`: the same as `make up`."""

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def up() -> None:
    """Start everything on this machine: Postgres, Temporal with its Web UI, migrations, a worker, the API."""
    # In this process' place: Ctrl-C and signals reach the supervisor itself. State lies beside the code.
    os.chdir(_ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "adapters.embedded"])  # noqa: S606  (no shell is wanted)
