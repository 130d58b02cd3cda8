"""The compose file and the image. No Docker engine runs here: their structure and their commands are checked."""

import ast
import asyncio
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.embedded.settings import StackSettings
from adapters.embedded.stack import plan
from adapters.embedded.state import StateFolder
from adapters.embedded.temporal import DYNAMIC_CONFIG, program
from adapters.temporal.client import SEARCH_ATTRIBUTES
from tests.servers import ROOT, TemporalServer

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = ("temporal-schema", "temporal-namespace", "migrations")
# Of the compose specification, what this file may use.
KEYS = {"image", "build", "command", "entrypoint", "environment", "env_file", "volumes", "ports", "depends_on",
        "healthcheck", "restart", "init", "cap_drop", "security_opt", "shm_size", "stop_grace_period"}  # fmt: skip
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_uses_known_keys_with_the_right_shapes(name: str) -> None:
    service = SERVICES[name]
    assert service.keys() <= KEYS
    assert all(isinstance(value, str | int | None) for value in service.get("environment", {}).values())
    assert all(isinstance(part, str) for part in [*service.get("command", []), *service.get("entrypoint", [])])
    assert service["restart"] in ("unless-stopped", "on-failure:5")
    assert (service["restart"] == "on-failure:5") == (name in ONE_SHOT)


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_to_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.match(r"\d+\.\d+\.\d+", tag)


def test_the_dockerfile_pins_its_base_installs_by_hash_and_drops_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_what_can_be_waited_for(name: str) -> None:
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert wanted == {"condition": expected}
        assert other in ONE_SHOT or "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", SERVICES)
def test_a_volume_is_declared_or_lies_beside_the_file(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).is_dir()


def test_a_secret_without_a_value_stops_the_start() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("CHATSPHERE_SECRET_KEY", "CHATSPHERE_POSTGRES_PASSWORD"):
        uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses)


def test_workers_scale_because_they_have_no_name_and_no_port_of_their_own() -> None:
    assert not SERVICES["worker"].keys() & {"ports", "container_name"}


def test_only_the_api_and_the_web_ui_are_reached_from_outside_and_from_this_host_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"api", "temporal-ui"}
    assert all("127.0.0.1:" in port for ports in published.values() for port in ports)


def test_the_commands_are_those_of_make_up(tmp_path: Path) -> None:
    stack = plan(StackSettings(api_host="0.0.0.0", api_port=8000), StateFolder(tmp_path))  # noqa: S104  (nothing is bound)
    for name, program_of in (("worker", stack.worker), ("migrations", stack.migrations), ("api", stack.api)):
        assert SERVICES[name]["command"][1:] == program_of.command[1:]


def test_temporal_is_told_the_same_as_the_embedded_one() -> None:
    configured = yaml.safe_load((ROOT / "deploy/temporal.yaml").read_text())
    assert {name: str(values[0]["value"]).lower() for name, values in configured.items()} == DYNAMIC_CONFIG


async def test_the_namespace_script_registers_the_search_attributes_and_runs_again(dev_server: TemporalServer) -> None:
    folder = program("temporal").parent
    environment = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "TEMPORAL_ADDRESS": dev_server.address,
        "TEMPORAL_NAMESPACE": "somewhere-else",
    }
    for _ in range(2):
        script = await asyncio.create_subprocess_exec("sh", "deploy/temporal-namespace.sh", cwd=ROOT, env=environment)
        assert await script.wait() == 0
    listed = await asyncio.create_subprocess_exec(
        "temporal", "operator", "search-attribute", "list", env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await listed.communicate()
    assert all(key.name in output.decode() for key in SEARCH_ATTRIBUTES)


def test_the_image_holds_every_module_and_package_that_the_services_import() -> None:
    copied = set(re.findall(r"^COPY (\w+)(?:\.py)? ", DOCKERFILE, re.MULTILINE))
    locked = {
        line.split("==")[0].lower()
        for name in ("requirements.txt", "requirements-nodeps.txt")
        for line in (ROOT / name).read_text().splitlines()
        if "==" in line
    }
    distributions = packages_distributions()
    missing = {
        module
        for module in _imports(copied) - copied - set(sys.stdlib_module_names)
        if not locked & {_normal(name) for name in distributions.get(module, [])}
    }
    assert missing == set()


def _imports(copied: set[str]) -> set[str]:
    """Top-level modules that the image's own code imports; `adapters/embedded` is left out of the image."""
    files = [file for name in copied for file in [*(ROOT / name).rglob("*.py"), ROOT / f"{name}.py"] if file.exists()]
    found: set[str] = set()
    for file in files:
        if file.is_relative_to(ROOT / "adapters/embedded"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_nothing_of_the_services_needs_the_embedded_servers() -> None:
    """`.dockerignore` leaves them out, so an import would fail in the image only."""
    code = "import sys, api.main, migrations; sys.exit(any(n.startswith('adapters.embedded') for n in sys.modules))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
