"""Secrets, ports and the lock of `make up`."""

import socket
from pathlib import Path

import pytest

from adapters.embedded.ports import conflicts
from adapters.embedded.settings import StackSettings
from adapters.embedded.state import StateFolder, StateInUse


def test_a_secret_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    made = StateFolder(tmp_path).secret("secret_key")
    assert len(made) >= 32
    assert StateFolder(tmp_path).secret("secret_key") == made
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_two_folders_have_different_secrets(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert StateFolder(tmp_path / "one").secret("key") != StateFolder(tmp_path / "two").secret("key")


def test_a_folder_is_held_once_and_free_again_afterwards(tmp_path: Path) -> None:
    second = StateFolder(tmp_path).locked()
    with StateFolder(tmp_path).locked(), pytest.raises(StateInUse, match="already runs on"):
        second.__enter__()
    with StateFolder(tmp_path).locked():
        pass


def test_a_record_that_is_broken_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text('[{"name": "api"')
    assert StateFolder(tmp_path).stop_leftovers() == []


def test_a_free_port_is_no_conflict_and_a_taken_one_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (sentence,) = conflicts({"CHATSPHERE_API_PORT": port})
    assert f"Port {port} is in use by" in sentence
    assert conflicts({"CHATSPHERE_API_PORT": port}) == []


def test_one_port_for_two_is_a_conflict_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (sentence,) = conflicts({"CHATSPHERE_API_PORT": port, "CHATSPHERE_TEMPORAL_PORT": port})
    assert "CHATSPHERE_TEMPORAL_PORT and CHATSPHERE_API_PORT are both" in sentence


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000")],  # noqa: S104  (nothing is bound)
)
def test_the_api_is_shown_under_an_address_that_a_browser_opens(host: str, url: str) -> None:
    assert StackSettings(api_host=host, api_port=8000).api_url == url
