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
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal

from domain.prompts import NOTHING_FOUND
from domain.sentences import sentence_spans, tokens

Endpoint = Literal["embed", "generate", "read"]


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
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class GeminiDouble:
    """The server's state; a test may change and read it while calls run."""

    url: str = ""
    answer: str | None = None
    """Fixed answer; None quotes the passages of the prompt."""
    pace: float = 0.0
    """Seconds before each delta."""
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
        self.canned, self.refused_words, self.transcript = False, "", None
        self.quota, self.quota_seconds, self.quota_told, self.refused = None, 60.0, False, 0
        self.granted.clear()
        self.calls.clear()
        self.texts_embedded.clear()
        self.requests.clear()
        self._faults.clear()
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
            await _reply(writer, 200, self._control(path, body))
            return
        match = re.fullmatch(r"/v1(?:beta)?/models/([^:]+):(\w+)(?:\?.*)?", path)
        if match is None or method != "POST":
            await _reply(writer, 404, _error_body(404, "NOT_FOUND"))
            return
        endpoint = {"batchEmbedContents": "embed", "streamGenerateContent": "generate", "generateContent": "read"}.get(
            match[2], match[2]
        )
        self.calls[endpoint] += 1
        if self.keep_requests:
            self.requests.append(Recorded(endpoint, match[1], headers, body))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._answer(endpoint, match[1], body, writer)
        finally:
            self._at_once -= 1

    def _control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        match path:
            case "/_script":
                self.script(body["endpoint"], *(Fault(**fault) for fault in body["faults"]))
            case "/_settings":
                for name in (
                    "answer",
                    "pace",
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
            await _reply(writer, fault.status, _error_body(fault.status, fault.reason, fault.retry_delay))
            return
        if fault.kind == "malformed":
            await _reply_raw(writer, b'data: {"candidates": [' if endpoint == "generate" else b'{"embeddings": [')
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
            case "countTokens":
                await _reply(writer, 200, {"totalTokens": len(json.dumps(body)) // 4})
            case _:
                await _reply(writer, 404, _error_body(404, "NOT_FOUND"))

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
        texts = _texts(body) if endpoint == "embed" and self.refused_words else []
        return error(400, "INVALID_ARGUMENT") if any(self.refused_words in text for text in texts) else fine()

    async def _embed(self, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        texts = _texts(body)
        width = body["requests"][0].get("outputDimensionality", 3072)
        if self.embed_seconds:
            await asyncio.sleep(self.embed_seconds)
        if fault.kind == "stalled":
            await self._stall()
        if fault.kind == "wrong_width":
            width //= 2
        if self.canned:
            await _reply_raw(writer, _canned(len(texts), width), content_type="application/json")
            return
        vectors = [{"values": embedding(text, width)} for text in texts]
        if fault.kind == "wrong_count":
            vectors.pop()
        if fault.kind == "zero_vector":
            vectors[-1] = {"values": [0.0] * width}
        payload = json.dumps(
            {"embeddings": vectors, "usageMetadata": {"promptTokenCount": sum(len(t) // 4 + 1 for t in texts)}}
        ).encode()
        if fault.kind == "dropped_midway":
            writer.write(_head(200, len(payload)) + payload[: len(payload) // 2])
            await writer.drain()
            raise _Drop
        self.texts_embedded.update(texts)
        await _reply_raw(writer, payload, content_type="application/json")

    async def _read(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        """Answer one page image in one piece."""
        if fault.kind == "stalled":
            await self._stall()
        if fault.kind == "prompt_blocked":
            await _reply(writer, 200, {"promptFeedback": {"blockReason": fault.reason}, "modelVersion": model})
            return
        [image] = [part["inlineData"] for part in body["contents"][-1]["parts"] if "inlineData" in part]
        pixels = base64.urlsafe_b64decode(image["data"])
        text = f"An image of {len(pixels)} bytes." if self.transcript is None else self.transcript
        usage = {"promptTokenCount": 2100, "candidatesTokenCount": len(text) // 4 + 1}
        finish = fault.reason if fault.kind == "finished_for" else "STOP"
        await _reply(writer, 200, _response(text, model, usage, finish))

    async def _generate(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n"
        )
        if fault.kind == "prompt_blocked":
            await _frame(writer, {"promptFeedback": {"blockReason": fault.reason}, "modelVersion": model})
        else:
            await self._deltas(model, body, fault, writer)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _deltas(self, model: str, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter) -> None:
        prompt = body["contents"][-1]["parts"][0]["text"]
        pieces = _pieces(self.answer if self.answer is not None else quoting_answer(prompt))
        usage = {"promptTokenCount": len(prompt) // 4 + 1}
        stop = min(fault.after, len(pieces) - 1)
        for index, piece in enumerate(pieces):
            if index == stop and not await self._midway(fault, model, writer):
                return
            if self.pace:
                await asyncio.sleep(self.pace)
            last = index == len(pieces) - 1 and fault.kind != "cut_short"
            counted = usage | {
                "candidatesTokenCount": index + 1,
                "totalTokenCount": usage["promptTokenCount"] + index + 1,
            }
            await _frame(writer, _response(piece, model, counted, "STOP" if last else None))

    async def _midway(self, fault: Fault, model: str, writer: asyncio.StreamWriter) -> bool:
        """Do what happens in mid-stream; answer whether the stream goes on."""
        match fault.kind:
            case "stalled":
                await self._stall()
            case "dropped_midway":
                raise _Drop
            case "cut_short":
                return False
            case "finished_for":
                await _frame(writer, _response("", model, {"promptTokenCount": 1}, fault.reason))
                return False
            case "error_midway":
                await _frame(writer, _error_body(fault.status, fault.reason))
                return False
            case _:
                pass
        return True

    async def _stall(self) -> None:
        self.reached.set()
        await self.release.wait()


def _texts(body: dict[str, Any]) -> list[str]:
    return [request["content"]["parts"][0]["text"] for request in body["requests"]]


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
    passages = re.findall(r"passage \[(\d+)\] \| [^\n]*\n(.*?)\n\S+ end \[\1\]", prompt, re.DOTALL)
    quotes = [f'"{_first_sentence(text)}" [{marker}]' for marker, text in passages[:2]]
    return f"The documents say: {' and '.join(quotes)}." if quotes else NOTHING_FOUND


def _first_sentence(text: str) -> str:
    spans = sentence_spans(text)
    return text[slice(*spans[0])].replace('"', "'") if spans else text


def _pieces(answer: str) -> list[str]:
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


async def _reply(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
    payload = json.dumps(body).encode()
    writer.write(_head(status, len(payload)) + payload)
    await writer.drain()


async def _reply_raw(writer: asyncio.StreamWriter, payload: bytes, content_type: str = "text/event-stream") -> None:
    writer.write(_head(200, len(payload), content_type) + payload)
    await writer.drain()


async def _frame(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    payload = f"data: {json.dumps(body)}\r\n\r\n".encode()
    writer.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")
    await writer.drain()


@asynccontextmanager
async def running_double(port: int = 0) -> AsyncIterator[GeminiDouble]:
    """Serve on a free loopback port, or on `port`, until the block is left."""
    double = GeminiDouble()
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


async def _main(port: int) -> None:
    async with running_double(port) as double:
        double.keep_requests = False
        print(double.url, flush=True)  # noqa: T201  (its one line of output)
        await asyncio.Event().wait()


def _port() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    port: int = parser.parse_args().port
    return port


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(_port()))
