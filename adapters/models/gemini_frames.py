"""Gemini's streamed answers as they come over HTTP: frames of JSON, each read once.

google-genai makes the other calls. For each frame it parses JSON three times and builds models of its whole schema:
some 250 µs, more than a core where 200 answers come at 20 tokens a second; this takes 90
(docs/decisions/0035-frames.md). A test holds the request against the one that google-genai sends.
"""

import base64
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Annotated, Any

import httpx2
from google.genai import errors
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

_GOOGLE = "https://generativelanguage.googleapis.com"
_ALPHABET = str.maketrans("-_", "+/")


def _or_empty(value: object) -> object:
    return [] if value is None else value


def _standard(value: object) -> object:
    """Take base64 in either alphabet; answer the standard one."""
    if not isinstance(value, str):
        return value
    return base64.b64encode(base64.b64decode(value.translate(_ALPHABET), validate=True)).decode()


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
    thought_signature: Annotated[str | None, BeforeValidator(_standard)] = None
    """Base64 of the standard alphabet."""


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

    def __init__(self, http: httpx2.AsyncClient, *, base_url: str | None, key: str, timeout: timedelta) -> None:
        """`timeout` is for each single wait: for a connection, for the next bytes."""
        self._http = http
        self._root = f"{(base_url or _GOOGLE).rstrip('/')}/v1"
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
            async for event in httpx2.EventSource(response):
                frame = event.json()
                if isinstance(frame, dict) and "error" in frame:
                    raise errors.APIError(0, frame, response)
                yield Frame.model_validate(frame)


async def _body(response: httpx2.Response) -> object:
    await response.aread()
    try:
        return response.json()
    except ValueError:  # a proxy's own words
        return {}
