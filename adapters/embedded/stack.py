"""Which programs the embedded stack is made of, and what each is told."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded import postgres
from adapters.embedded.process import Program
from adapters.embedded.settings import StackSettings
from adapters.embedded.state import StateFolder
from adapters.embedded.temporal import DevServer

ROOT = Path(__file__).parents[2]
DATABASE = "chatsphere"


@dataclass(frozen=True)
class Stack:
    """The programs in the order of their start, and the two servers that are waited for."""

    cluster: postgres.Cluster
    temporal_server: DevServer
    postgres: Program
    temporal: Program
    migrations: Program
    worker: Program
    api: Program


def plan(settings: StackSettings, state: StateFolder) -> Stack:
    """Decide every command; starts nothing, but makes the secrets at the first call."""
    cluster = postgres.Cluster(state.path / "postgres", settings.postgres_port, state.secret("postgres_password"))
    server = DevServer(settings.temporal_port, settings.temporal_ui_port, state.path / "temporal.sqlite")
    services = _environment(settings, state, cluster, server)
    bare = _without_temporal(postgres.environment())
    python = sys.executable
    return Stack(
        cluster=cluster,
        temporal_server=server,
        postgres=Program(
            "postgres", cluster.command, bare, state.path, user=postgres.system_user(),
            stop_signal=postgres.STOP_SIGNAL, grace=30.0, before_start=cluster.prepare,
        ),
        temporal=Program("temporal", server.command, bare, ROOT, grace=15.0),
        migrations=Program(
            "migrations", [python, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"], services, ROOT
        ),
        worker=Program(
            "worker", [python, "worker.py"], services, ROOT, grace=settings.graceful_shutdown.total_seconds() + 10
        ),
        api=Program("api", _api_command(settings), services, ROOT, grace=15.0),
    )  # fmt: skip


def _api_command(settings: StackSettings) -> list[str]:
    return [
        sys.executable, "-m", "uvicorn", "api.main:create_app", "--factory",
        "--host", settings.api_host, "--port", str(settings.api_port),
        # Our own log has a line a request; a reader of an endless stream must not hold a stop up.
        "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5",
    ]  # fmt: skip


def _environment(
    settings: StackSettings, state: StateFolder, cluster: postgres.Cluster, server: DevServer
) -> dict[str, str]:
    """What migrations, worker and API are told; what a person has set stays as it is."""
    chosen = {
        "CHATSPHERE_LOG_FORMAT": "console" if "log_format" not in settings.model_fields_set else settings.log_format,
        "CHATSPHERE_SECRET_KEY": (
            settings.secret_key.get_secret_value()
            if "secret_key" in settings.model_fields_set
            else state.secret("secret_key")
        ),
        "CHATSPHERE_BLOB_DIR": str(
            settings.blob_dir.resolve() if "blob_dir" in settings.model_fields_set else state.path / "blobs"
        ),
        "CHATSPHERE_DATABASE_URL": cluster.url(DATABASE),
        "CHATSPHERE_TEMPORAL_UI_URL": f"http://127.0.0.1:{server.ui_port}",
        "TEMPORAL_ADDRESS": server.address,
        "PYTHONUNBUFFERED": "1",
    }
    # Compiled once, every start and every run in the workflows' sandbox is faster.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**_without_temporal(inherited), **chosen}


def _without_temporal(environment: dict[str, str]) -> dict[str, str]:
    """Neither another cluster's address, key nor profile may reach the embedded one."""
    ours = {name: value for name, value in environment.items() if not name.startswith("TEMPORAL_")}
    return {**ours, "TEMPORAL_CONFIG_FILE": os.devnull}
