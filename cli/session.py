"""A signed-in client of the REST API: credentials, errors as sentences, retries under one idempotency key."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import typer

from adapters.ids import new_id
from cli.console import fail

Json = dict[str, Any]

_PAUSES = (0.5, 1.0, 2.0)  # between tries, seconds
_LONGEST_PAUSE = 10.0


class Refused(Exception):
    """The API said no; the message is its own sentence."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is, and the key that was given by option or environment."""

    url: str
    key: str | None = None


class Session:
    """Speaks to one API. Safe to be used by several threads."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def get(self, path: str, **query: Any) -> Json:
        """Answer the JSON of a GET."""
        return self._send("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, **body: Any) -> Json:
        """Send once, however often the connection fails: all tries carry one idempotency key."""
        return self._send("POST", path, headers={"Idempotency-Key": str(new_id())}, **body)

    def all(self, path: str, **query: Any) -> Iterator[Json]:
        """Yield every entry of a list, page by page."""
        after: str | None = None
        while True:
            page = self.get(path, limit=100, order="asc", after=after, **query)
            yield from page["data"]
            after = page["next"]
            if not page["has_more"]:
                return

    def stream(self, path: str, body: Json) -> Iterator[tuple[str, Json]]:
        """Post and yield the server-sent events of the answer."""
        with self._http.stream("POST", path, json=body, headers={"Idempotency-Key": str(new_id())}) as response:
            yield from events(response)

    def _send(self, method: str, path: str, **request: Any) -> Json:
        for pause in (*_PAUSES, None):
            _rewind(request)
            try:
                response = self._http.request(method, path, **request)
            except httpx2.TransportError:
                if pause is None:
                    raise
                time.sleep(pause)
                continue
            if pause is None or response.status_code not in (429, 503):
                return _read_answer(response)
            time.sleep(min(_LONGEST_PAUSE, float(response.headers.get("Retry-After", pause))))
        raise AssertionError("the last try answers or raises")


def _read_answer(response: httpx2.Response) -> Json:
    refuse(response)
    answer: Json = response.json() if response.content else {}
    return answer


def open_session(target: Target) -> Session:
    """Sign in with the key given, else with the one that `chatsphere login` stored."""
    key = target.key or stored_key(target.url)
    if key is None:
        fail(f"Nobody is signed in at {target.url}. Run: chatsphere login")
    return Session(client(target.url, key))


def client(url: str, key: str | None = None) -> httpx2.Client:
    """Give a client of the API at `url`."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx2.Timeout(150, connect=5)
    return httpx2.Client(base_url=f"{url.rstrip('/')}/api/v1", headers=headers, timeout=timeout, trust_env=False)


def refuse(response: httpx2.Response) -> None:
    """Raise `Refused` with the API's own sentence."""
    if not response.is_error:
        return
    response.read()
    try:
        error = response.json()["error"]
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        message, code = (
            f"{response.status_code}, which is not ChatSphere's; does something else listen there?",
            "unknown",
        )
    raise Refused(message, status=response.status_code, code=code)


def events(response: httpx2.Response) -> Iterator[tuple[str, Json]]:
    """Read server-sent events: their type and their JSON."""
    refuse(response)
    kind, data = "message", ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            kind = value
        elif field == "data":
            data += value
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "message", ""


# Credentials


def credentials_file() -> Path:
    """Name the file that `chatsphere login` writes."""
    return Path(typer.get_app_dir("chatsphere")) / "credentials.json"


def stored_key(url: str) -> str | None:
    """Give the key that was stored for this API."""
    return _read().get(url.rstrip("/"))


def store_key(url: str, key: str | None) -> None:
    """Remember a key for this API, or forget it; the file is its owner's alone."""
    keys = _read()
    if key is None:
        keys.pop(url.rstrip("/"), None)
    else:
        keys[url.rstrip("/")] = key
    file = credentials_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
        json.dump(keys, target)
    fresh.replace(file)


def _read() -> dict[str, str]:
    try:
        return {str(url): str(key) for url, key in json.loads(credentials_file().read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError):
        fail(f"{credentials_file()} is not readable. Delete it, then run: chatsphere login")


def _rewind(request: Json) -> None:
    """A file that a failed try has read is read from its start again."""
    parts = request.get("files") or []
    for _, part in parts.items() if isinstance(parts, dict) else parts:
        part[1].seek(0)
