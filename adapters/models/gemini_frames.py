"""Gemini's streamed answers as they come over HTTP: frames of JSON, each read once.

google-genai makes the other calls. It parses the JSON of each frame three times and builds models of its whole schema,
which takes two to three times as long as all that is done here (docs/decisions/0035-frames.md). A test holds the
request against the one that google-genai sends.
"""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any

import httpx2
from google.genai import errors
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

BASE_URL = "https://generativelanguage.googleapis.com"
VERSION = "v1"
_MOST = 32 * 1024 * 1024  # characters of a frame: an image that nobody asked for is less
_OTHER_FIELDS = (":", "event:", "id:", "retry:")


def _or_empty(value: object) -> object:
    return () if value is None else value


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class FunctionCall(_Wire):
    """A tool that the model asks for."""

    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None


class Part(_Wire):
    """A piece of what the model says."""

    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None
    """Base64, of either alphabet."""


class Content(_Wire):
    """What the model says."""

    parts: Annotated[tuple[Part, ...], BeforeValidator(_or_empty)] = ()


class Candidate(_Wire):
    """One of the answers; only one is asked for."""

    content: Content | None = None
    finish_reason: str | None = None


class PromptFeedback(_Wire):
    """Why there is no answer."""

    block_reason: str | None = None


class UsageMetadata(_Wire):
    """Tokens so far."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class Frame(_Wire):
    """What is read of a response, or of a piece of a streamed one."""

    candidates: Annotated[tuple[Candidate, ...], BeforeValidator(_or_empty)] = ()
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None


class GeminiStreams:
    """Calls `streamGenerateContent`."""

    def __init__(self, http: httpx2.AsyncClient, *, base_url: str, key: str, timeout: timedelta) -> None:
        """`timeout` is for each single wait: for a connection, for the next bytes."""
        self._http = http
        self._root = f"{base_url.rstrip('/')}/{VERSION}"
        self._headers = {"x-goog-api-key": key}
        self._timeout = timeout.total_seconds()

    async def frames(self, model: str, body: Mapping[str, object]) -> AsyncGenerator[Frame]:
        """Yield frames until the stream ends. Raises what google-genai does: `APIError`, httpx2's errors, ValueError."""
        path = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        url = f"{self._root}/{path}:streamGenerateContent"
        async with self._http.stream(
            "POST", url, params={"alt": "sse"}, json=body, headers=self._headers, timeout=self._timeout
        ) as response:
            if response.status_code != httpx2.codes.OK:
                raise errors.APIError(response.status_code, await _body(response), response)
            async for text in _texts(response):
                frame = json.loads(text)
                error = frame.get("error") if isinstance(frame, dict) else None
                if error is not None:
                    raise errors.APIError(0, frame if isinstance(error, dict) else {}, response)
                yield Frame.model_validate(frame)


async def _texts(response: httpx2.Response) -> AsyncGenerator[str]:
    """Yield the JSON of each event, and of what comes as none.

    httpx2's `EventSource` drops what Gemini's stream may hold beside events: an error in bare lines of JSON, and a last
    event without its blank line. Its `aiter_lines` breaks lines at characters that JSON may hold.
    """
    lines: list[str] = []
    rest, size = "", 0
    async for text in response.aiter_text():
        size += len(text)
        if size > _MOST:
            raise ValueError("a frame is too long")
        *ended, rest = (rest + text).split("\n")
        for line in ended:
            if line not in ("", "\r"):
                lines.append(line)
            else:
                if joined := _joined(lines):
                    yield joined
                lines, size = [], 0
    if joined := _joined([*lines, rest]):
        yield joined


def _joined(lines: Iterable[str]) -> str:
    """Take the data of an event, if it has any; a line that is none of its fields is JSON as it stands."""
    return "\n".join(line.removeprefix("data:") for line in lines if not line.startswith(_OTHER_FIELDS))


async def _body(response: httpx2.Response) -> object:
    await response.aread()
    try:
        return response.json()
    except ValueError:  # a proxy's own words
        return {}
