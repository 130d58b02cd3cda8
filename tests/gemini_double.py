"""A stand-in for Gemini: a real HTTP server that speaks its REST format, fails as scripted and counts its calls.

In a test: `async with running_double() as double:`. As a process of its own:
`python -m tests.gemini_double --port 9000`, controlled by `POST /_script`, `/_settings`, `/_release`,
`/_reset` and read by `GET /_calls`.
"""

import argparse
import asyncio
import base64
import json
import math
import re
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar

from domain.prompts import NOTHING_FOUND
from domain.sentences import sentence_spans, tokens

Endpoint = Literal["embed", "generate", "complete", "read"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call instead of, or before, the right answer. Made by the functions below."""

    kind: str
    status: int = 200
    seconds: float = 0.0
    retry_delay: str | None = None
    reason: str = ""
    after: int = 0
    """Deltas that are sent before it happens."""
    held: bool = False
    """In a stream: it waits, as a stall does, and happens when the test lets it."""


def fine() -> Fault:
    """Let this call through, so that a later one fails."""
    return Fault("fine")


def slow(seconds: float) -> Fault:
    return Fault("slow", seconds=seconds)


def rate_limited(retry_delay: str | None = "2s") -> Fault:
    return Fault("error", status=429, reason="RESOURCE_EXHAUSTED", retry_delay=retry_delay)


def quota_of_the_day() -> Fault:
    """As Gemini says it: a 429 whose RetryInfo names seconds, although the quota resets at midnight."""
    return Fault("error", status=429, reason="QUOTA_PER_DAY", retry_delay="43s")


def error(status: int, reason: str = "INTERNAL") -> Fault:
    """Answer an error; `reason` API_KEY_INVALID comes as Gemini's 400 with ErrorInfo."""
    return Fault("error", status=status, reason=reason)


def malformed() -> Fault:
    """Answer 200 and half a JSON object."""
    return Fault("malformed")


def dropped() -> Fault:
    """Close the connection before any header."""
    return Fault("dropped")


def dropped_midway(after: int = 1) -> Fault:
    """Close the connection inside the body."""
    return Fault("dropped_midway", after=after)


def cut_short(after: int = 1) -> Fault:
    """End the stream in order, but without a finishReason."""
    return Fault("cut_short", after=after)


def stalled(after: int = 1) -> Fault:
    """Stop in the stream until the test sets `double.release` (before the answer, for embeddings)."""
    return Fault("stalled", after=after)


def prompt_blocked(reason: str = "SAFETY") -> Fault:
    return Fault("prompt_blocked", reason=reason)


def finished_for(reason: str, after: int = 1) -> Fault:
    """End the stream with this finishReason, for example SAFETY or MAX_TOKENS."""
    return Fault("finished_for", reason=reason, after=after)


def error_midway(status: int = 500, after: int = 1) -> Fault:
    """Send an error object inside the stream."""
    return Fault("error_midway", status=status, reason="INTERNAL", after=after)


def broken_frame(text: str, after: int = 1) -> Fault:
    """Send a frame of this text inside the stream, and go on as if nothing were."""
    return Fault("broken_frame", reason=text, after=after)


def bare_error(status: int, retry_delay: str | None = None, after: int = 1) -> Fault:
    """Send an error inside the stream as Gemini does at times: as lines of JSON that are no event, then end it."""
    return Fault("bare_error", status=status, retry_delay=retry_delay, after=after)


def unended(after: int = 1) -> Fault:
    """End the stream in order, but without the blank line after its last event."""
    return Fault("unended", after=after)


def wrong_width() -> Fault:
    return Fault("wrong_width")


def wrong_count() -> Fault:
    return Fault("wrong_count")


def zero_vector() -> Fault:
    return Fault("zero_vector")


class _Drop(Exception):
    """Close the connection now."""


@dataclass(slots=True)
class Recorded:
    """One call as it arrived."""

    endpoint: str
    model: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class GeminiDouble:
    """The server's state; a test may change and read it while calls run."""

    url: str = ""
    answer: str | None = None
    """Fixed answer; None quotes the passages of the prompt."""
    completion: str | None = None
    """Fixed short text; None says the last line of what it is given again."""
    tool_steps: deque[list[tuple[str, dict[str, Any]]]] = field(default_factory=deque)
    """Calls, name and arguments, that the next answers with tools ask for instead of the answer, one list each."""
    answering: Callable[[dict[str, Any]], str] | None = None
    """Makes an answer of a request's body; goes before `answer`."""
    completing: Callable[[dict[str, Any]], str] | None = None
    """Makes a short text of a request's body; goes before `completion`."""
    planning: Callable[[dict[str, Any]], list[tuple[str, dict[str, Any]]]] | None = None
    """Makes calls of a request's body that has tools; where there are any, they come instead of the answer."""
    calling: Callable[[dict[str, Any]], list[tuple[str, dict[str, Any]]]] | None = None
    """Makes calls of tools, offered or not, of a request's body; they come before the answer."""
    pace: float = 0.0
    """Seconds before each delta."""
    stamped: bool = False
    """Write the time of sending into each delta in place of its text, in microseconds since 1970."""
    embed_seconds: float = 0.0
    """Seconds before each batch of embeddings."""
    refused_words: str = ""
    """Refuse a batch with 400 where one of its texts holds these words; empty refuses none."""
    transcript: str | None = None
    """What is read on a page image; None names the image's size."""
    canned: bool = False
    """Answer one and the same vector for every text, at next to no cost of the double's own."""
    quota: int | None = None
    """Calls that are granted in `quota_seconds`, whatever they ask for; those over it get 429 and count for nothing."""
    quota_seconds: float = 60.0
    quota_told: bool = False
    """A 429 says how long to wait (RetryInfo)."""
    granted: deque[float] = field(default_factory=deque)
    """When the calls came that the quota let through."""
    refused: int = 0
    """Calls that were over the quota."""
    calls: Counter[str] = field(default_factory=Counter)
    """Calls that arrived, by endpoint, failed ones included."""
    texts_embedded: Counter[str] = field(default_factory=Counter)
    """Texts whose vectors were sent."""
    requests: list[Recorded] = field(default_factory=list)
    most_at_once: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a stalled call has come to its stop."""
    keep_requests: bool = True
    _faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    _at_once: int = 0

    def script(self, endpoint: Endpoint, *faults: Fault) -> None:
        """Queue what happens to the next calls of an endpoint, one each."""
        self._faults[endpoint].extend(faults)

    def reset(self) -> None:
        """Forget calls, faults and settings."""
        self.answer, self.pace, self.embed_seconds, self.most_at_once = None, 0.0, 0.0, 0
        self.completion = None
        self.tool_steps.clear()
        self.answering = self.completing = self.planning = self.calling = None
        self.stamped = False
        self.canned, self.refused_words, self.transcript = False, "", None
        self.quota, self.quota_seconds, self.quota_told, self.refused = None, 60.0, False, 0
        self.granted.clear()
        self.calls.clear()
        self.texts_embedded.clear()
        self.requests.clear()
        self._faults.clear()
        self.release.clear()
        self.reached.clear()

    def go_on(self) -> None:
        """Let the stalled call go on, and hold the next one that stalls."""
        self.release.set()
        self.release.clear()
        self.reached.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(_Drop, ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._one_request(reader, writer)
        finally:
            writer.close()

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        body = json.loads(raw) if raw else {}
        if path.startswith("/_"):
            await reply(writer, 200, self._control(path, body))
            return
        route = self._route(path, body) if method == "POST" else None
        if route is None:
            await self._refuse(writer, error(404, "NOT_FOUND"))
            return
        endpoint, model = route
        self.calls[endpoint] += 1
        if self.keep_requests:
            self.requests.append(Recorded(endpoint, model, path, headers, body))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._answer(endpoint, model, body, writer)
        finally:
            self._at_once -= 1

    def _route(self, path: str, body: dict[str, Any]) -> tuple[str, str] | None:
        """Tell endpoint and model."""
        match = re.fullmatch(r"/v1(?:beta)?/models/([^:]+):(\w+)(?:\?.*)?", path)
        return (_endpoint(match[2], body), match[1]) if match else None

    async def _refuse(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        await reply(writer, fault.status, _error_body(fault.status, fault.reason, fault.retry_delay))

    async def _break(self, endpoint: str, writer: asyncio.StreamWriter) -> None:
        await reply_raw(writer, b'data: {"candidates": [\r\n\r\n' if endpoint == "generate" else b'{"embeddings": [')

    def _control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        match path:
            case "/_script":
                self.script(body["endpoint"], *(Fault(**fault) for fault in body["faults"]))
            case "/_settings":
                self.tool_steps.extend(body.get("tool_steps", []))
                for name in (
                    "answer",
                    "completion",
                    "pace",
                    "stamped",
                    "embed_seconds",
                    "canned",
                    "quota",
                    "quota_seconds",
                    "quota_told",
                    "refused_words",
                    "transcript",
                ):
                    setattr(self, name, body.get(name, getattr(self, name)))
            case "/_release":
                self.release.set()
            case "/_reset":
                self.reset()
            case _:
                pass  # /_calls only reads
        return {
            "calls": dict(self.calls),
            "texts_embedded": dict(self.texts_embedded),
            "most_at_once": self.most_at_once,
            "refused": self.refused,
            "reached": self.reached.is_set(),
        }

    async def _answer(self, endpoint: str, model: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        queue = self._faults[endpoint]
        fault = self._over_quota() or (queue.popleft() if queue else self._usual(endpoint, body))
        if fault.kind == "dropped":
            raise _Drop
        if fault.kind == "error":
            await self._refuse(writer, fault)
            return
        if fault.kind == "malformed":
            await self._break(endpoint, writer)
            return
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        await self._right_answer(endpoint, model, body, fault, writer)

    async def _right_answer(
        self, endpoint: str, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter
    ) -> None:
        match endpoint:
            case "embed":
                await self._embed(body, fault, writer)
            case "generate":
                await self._generate(model, body, fault, writer)
            case "read":
                await self._read(model, body, fault, writer)
            case "complete":
                await self._complete(model, body, fault, writer)
            case "countTokens":
                await reply(writer, 200, {"totalTokens": len(json.dumps(body)) // 4})
            case _:
                await reply(writer, 404, _error_body(404, "NOT_FOUND"))

    def _over_quota(self) -> Fault | None:
        now = asyncio.get_running_loop().time()
        while self.granted and self.granted[0] <= now - self.quota_seconds:
            self.granted.popleft()
        if self.quota is not None and len(self.granted) >= self.quota:
            self.refused += 1
            left = self.granted[0] + self.quota_seconds - now
            return rate_limited(f"{left:.3f}s" if self.quota_told else None)
        self.granted.append(now)
        return None

    def _usual(self, endpoint: str, body: dict[str, Any]) -> Fault:
        texts = self._texts(body) if endpoint == "embed" and self.refused_words else []
        return error(400, "INVALID_ARGUMENT") if any(self.refused_words in text for text in texts) else fine()

    def _texts(self, body: dict[str, Any]) -> list[str]:
        return [request["content"]["parts"][0]["text"] for request in body["requests"]]

    def _width(self, body: dict[str, Any]) -> int:
        width: int = body["requests"][0].get("outputDimensionality", 3072)
        return width

    def _embedded(self, vectors: list[list[float]], tokens: int, _body: dict[str, Any]) -> dict[str, Any]:
        return {
            "embeddings": [{"values": vector} for vector in vectors],
            "usageMetadata": {"promptTokenCount": tokens},
        }

    async def _embed(self, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        texts = self._texts(body)
        width = self._width(body)
        if self.embed_seconds:
            await asyncio.sleep(self.embed_seconds)
        if fault.kind == "stalled":
            await self._stall()
        if fault.kind == "wrong_width":
            width //= 2
        if self.canned:
            await reply_raw(writer, _canned(len(texts), width), content_type="application/json")
            return
        vectors = [embedding(text, width) for text in texts]
        if fault.kind == "wrong_count":
            vectors.pop()
        if fault.kind == "zero_vector":
            vectors[-1] = [0.0] * width
        payload = json.dumps(self._embedded(vectors, sum(len(text) // 4 + 1 for text in texts), body)).encode()
        if fault.kind == "dropped_midway":
            await half(writer, payload)
        self.texts_embedded.update(texts)
        await reply_raw(writer, payload, content_type="application/json")

    async def _read(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        """Answer one page image in one piece."""
        if fault.kind == "stalled":
            await self._stall()
        if fault.kind == "prompt_blocked":
            await reply(writer, 200, {"promptFeedback": {"blockReason": fault.reason}, "modelVersion": model})
            return
        [image] = [part["inlineData"] for part in body["contents"][-1]["parts"] if "inlineData" in part]
        pixels = base64.urlsafe_b64decode(image["data"])
        text = f"An image of {len(pixels)} bytes." if self.transcript is None else self.transcript
        usage = {"promptTokenCount": 2100, "candidatesTokenCount": len(text) // 4 + 1}
        finish = fault.reason if fault.kind == "finished_for" else "STOP"
        await reply(writer, 200, _response(text, model, usage, finish))

    async def _complete(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        """Write a short text in one piece."""
        if fault.kind == "stalled":
            await self._stall()
        if fault.kind == "prompt_blocked":
            await self._block(writer, model, fault, streamed=False)
            return
        given = self._prompt(body)
        text = given.rstrip().rpartition("\n")[2] if self.completion is None else self.completion
        if self.completing is not None:
            text = self.completing(body)
        finish = fault.reason if fault.kind == "finished_for" else None
        response = self._short(text, model, len(given) // 4 + 1, len(text) // 4 + 1, finish)
        if fault.kind == "dropped_midway":
            await half(writer, json.dumps(response).encode())
        await reply(writer, 200, response)

    async def _generate(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        if fault.kind == "prompt_blocked":
            await self._block(writer, model, fault, streamed=True)
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n"
        )
        if planned := self._planned(body):
            if fault.kind == "stalled":
                await self._stall()
            await self._ask_for_tools(writer, model, planned)
        else:
            if self.calling is not None and (calls := self.calling(body)):
                await self._ask_for_tools(writer, model, calls)
            await self._deltas(model, body, fault, writer)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _planned(self, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        if not body.get("tools"):
            return []
        if self.tool_steps:
            return self.tool_steps.popleft()
        return self.planning(body) if self.planning is not None else []

    async def _deltas(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        prompt = self._prompt(body)
        pieces = words(self._answer_to(body, prompt))
        tokens = len(prompt) // 4 + 1
        stop = min(fault.after, len(pieces) - 1)
        await self._open(writer, model, tokens)
        due = time.monotonic()
        for index, piece in enumerate(pieces):
            if index == stop and not await self._midway(fault, model, writer):
                return
            if self.pace:  # what the writing of a token takes is no part of it
                due = max(due + self.pace, time.monotonic() - self.pace)
                await asyncio.sleep(due - time.monotonic())
            if self.stamped:
                piece = f"{time.time_ns() // 1000} "
            last = index == len(pieces) - 1 and fault.kind != "cut_short"
            await self._say(writer, model, piece, tokens=(tokens, index + 1), last=last)

    def _answer_to(self, body: dict[str, Any], prompt: str) -> str:
        if self.answering is not None:
            return self.answering(body)
        return self.answer if self.answer is not None else quoting_answer(prompt)

    async def _midway(self, fault: Fault, model: str, writer: asyncio.StreamWriter) -> bool:
        """Do what happens in mid-stream; answer whether the stream goes on."""
        if fault.held:
            await self._stall()
        match fault.kind:
            case "stalled":
                await self._stall()
            case "dropped_midway":
                raise _Drop
            case "cut_short":
                return False
            case "finished_for":
                await self._finish(writer, model, fault.reason)
                return False
            case "broken_frame":
                await self._garble(writer, fault.reason)
            case "error_midway" | "bare_error" | "unended":
                await self._fail(writer, fault)
                return False
            case _:
                pass
        return True

    # How this provider says it

    def _prompt(self, body: dict[str, Any]) -> str:
        """Give the last message: the question with its passages, or what the tools gave."""
        parts = body["contents"][-1]["parts"]
        given = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
        texts = [part["text"] for part in parts if "text" in part]
        return "\n".join([*texts, *(str(value) for response in given for value in response.values())])

    def _short(self, text: str, model: str, read: int, written: int, finish: str | None) -> dict[str, Any]:
        usage = {"promptTokenCount": read, "candidatesTokenCount": written}
        return _response(text, model, usage, finish or "STOP")

    async def _block(self, writer: asyncio.StreamWriter, model: str, fault: Fault, *, streamed: bool) -> None:
        blocked = {"promptFeedback": {"blockReason": fault.reason}, "modelVersion": model}
        if streamed:
            await reply_raw(writer, b"data: " + json.dumps(blocked).encode() + b"\r\n\r\n")
        else:
            await reply(writer, 200, blocked)

    async def _open(self, writer: asyncio.StreamWriter, model: str, tokens: int) -> None:
        """Begin an answer to a prompt of so many tokens."""

    async def _say(
        self, writer: asyncio.StreamWriter, model: str, piece: str, *, tokens: tuple[int, int], last: bool
    ) -> None:
        read, written = tokens
        usage = {"promptTokenCount": read, "candidatesTokenCount": written, "totalTokenCount": read + written}
        await _frame(writer, _response(piece, model, usage, "STOP" if last else None))

    async def _finish(self, writer: asyncio.StreamWriter, model: str, reason: str) -> None:
        await _frame(writer, _response("", model, {"promptTokenCount": 1}, reason))

    async def _garble(self, writer: asyncio.StreamWriter, frame: str) -> None:
        """Send a frame that is none."""
        await send(writer, f"data: {frame}\r\n\r\n")

    async def _fail(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        match fault.kind:
            case "bare_error":
                body = _error_body(fault.status, "RESOURCE_EXHAUSTED", fault.retry_delay)
                await send(writer, json.dumps(body, indent=2) + "\n")
            case "unended":
                body = _response("end", "double", {"promptTokenCount": 1, "candidatesTokenCount": 9}, "stop")
                await send(writer, f"data: {json.dumps(body)}\n")
            case _:
                await _frame(writer, _error_body(fault.status, fault.reason))

    async def _ask_for_tools(
        self, writer: asyncio.StreamWriter, model: str, calls: list[tuple[str, dict[str, Any]]]
    ) -> None:
        """Ask in parallel; as Gemini has it the first call carries the thoughts' signature, and none an id."""
        parts: list[dict[str, Any]] = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
        parts[0]["thoughtSignature"] = base64.b64encode(b"thoughts\xff").decode()
        usage = {"promptTokenCount": 21, "candidatesTokenCount": 8, "totalTokenCount": 29}
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, "finishReason": "STOP"}
        await _frame(writer, _response("", model, usage, "STOP") | {"candidates": [candidate]})

    async def _stall(self) -> None:
        self.reached.set()
        await self.release.wait()


def _endpoint(method: str, body: dict[str, Any]) -> str:
    if method == "generateContent":
        return "read" if any("inlineData" in part for part in body["contents"][-1]["parts"]) else "complete"
    return {"batchEmbedContents": "embed", "streamGenerateContent": "generate"}.get(method, method)


def embedding(text: str, width: int) -> list[float]:
    """Hash the words into a vector: texts that share words lie near each other. Not of unit length."""
    values = [0.0] * width
    for word in tokens(text) or [text]:
        hashed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        values[hashed % width] += 1.0 if hashed & (1 << 20) else -1.0
    if not any(values):
        values[0] = 1.0
    norm = math.sqrt(sum(value * value for value in values))
    return [value and round(2 * value / norm, 6) for value in values]


@cache
def _canned(count: int, width: int) -> bytes:
    vector = json.dumps({"values": embedding("canned", width)})
    return (
        f'{{"embeddings": [{", ".join([vector] * count)}], "usageMetadata": {{"promptTokenCount": {count}}}}}'.encode()
    )


def quoting_answer(prompt: str) -> str:
    """Quote the first sentence of the first two passages, each with its marker."""
    passages = re.findall(r"passage \[(\d+)\]\n[^\n]*\n(.*?)\n\S+ end \[\1\]", prompt, re.DOTALL)
    quotes = [f'"{_first_sentence(text)}" [{marker}]' for marker, text in passages[:2]]
    return f"The documents say: {' and '.join(quotes)}." if quotes else NOTHING_FOUND


def _first_sentence(text: str) -> str:
    spans = sentence_spans(text)
    return text[slice(*spans[0])].replace('"', "'") if spans else text


def words(answer: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", answer) or [""]


def _response(text: str, model: str, usage: dict[str, int], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "double"}


def _error_body(status: int, reason: str, retry_delay: str | None = None) -> dict[str, Any]:
    details: list[dict[str, Any]] = []
    if retry_delay is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay})
    if reason == "QUOTA_PER_DAY":
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/embed_content_free_tier_requests",
            "quotaId": "EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier",
        }
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
        reason = "RESOURCE_EXHAUSTED"
    if reason == "API_KEY_INVALID":
        details.append(
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
        )
        reason = "INVALID_ARGUMENT"
    return {"error": {"code": status, "message": "SECRET provider text", "status": reason, "details": details}}


def _head(status: int, length: int, content_type: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: keep-alive\r\n\r\n"
    ).encode()


async def reply(
    writer: asyncio.StreamWriter, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    payload = json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    writer.write(_head(status, len(payload)).replace(b"\r\n", b"\r\n" + more.encode(), 1) + payload)
    await writer.drain()


async def reply_raw(writer: asyncio.StreamWriter, payload: bytes, content_type: str = "text/event-stream") -> None:
    writer.write(_head(200, len(payload), content_type) + payload)
    await writer.drain()


async def half(writer: asyncio.StreamWriter, payload: bytes) -> NoReturn:
    writer.write(_head(200, len(payload)) + payload[: len(payload) // 2])
    await writer.drain()
    raise _Drop


async def _frame(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    await send(writer, f"data: {json.dumps(body)}\r\n\r\n")


async def send(writer: asyncio.StreamWriter, text: str) -> None:
    """Send a chunk of a stream."""
    payload = text.encode()
    writer.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")
    await writer.drain()


@asynccontextmanager
async def running_double(port: int = 0) -> AsyncIterator[GeminiDouble]:
    """Serve on a free loopback port, or on `port`, until the block is left."""
    async with serving(GeminiDouble(), port) as double:
        yield double


DoubleT = TypeVar("DoubleT", bound=GeminiDouble)


@asynccontextmanager
async def serving(double: DoubleT, port: int = 0) -> AsyncIterator[DoubleT]:
    """Serve this double; those of the other providers are made from this one."""
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(double._serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def faults_json(*faults: Fault) -> list[dict[str, Any]]:
    """Write faults for `POST /_script`."""
    return [asdict(fault) for fault in faults]


async def _serve(double: GeminiDouble, port: int) -> None:
    async with serving(double, port):
        double.keep_requests = False
        print(double.url, flush=True)  # noqa: T201  (its one line of output)
        await asyncio.Event().wait()


def main(double: GeminiDouble) -> None:
    """Serve as a process of its own, until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(double, parser.parse_args().port))


if __name__ == "__main__":
    main(GeminiDouble())
