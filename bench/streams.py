"""Streams side by side: whether every delta arrives, and how late.

The double writes the time into each token as it sends it, so that a reader on the same machine knows a token's age,
and how fast a stream was written while how many others were. Turns begin at a dozen a second, so an answer must last
longer than the last one takes to begin.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from bench import frames
from bench.report import Row, median, percentile
from bench.rig import Rig
from bench.turns import conversation_of

_STREAMS = 200
_PACE = 0.05  # seconds between two tokens of a stream: 20 a second
_TOKENS = 800
_APART = 0.06  # wider than the batching window, so that each token goes by itself


@dataclass(slots=True)
class _Stream:
    """What one reader saw."""

    text: str = ""
    stored: str = ""
    ages: list[float] = field(default_factory=list)  # of each token on its arrival, in seconds
    resets: int = 0

    @property
    def written(self) -> list[float]:
        """When the double wrote each token of the message, in seconds."""
        return [stamp / 1e6 for stamp in _stamps(self.stored)]


async def measure(rig: Rig, *, streams: int = _STREAMS, tokens: int = _TOKENS) -> list[Row]:
    """Give the streaming rows of the target table."""
    wanted = {"configuration": {"retrieval": {"threshold": 0}}}  # the model writes, whatever was found
    (await rig.http.patch(f"/api/v1/bots/{rig.bot}", json=wanted)).raise_for_status()
    frame = await frames.measure(rig)
    await rig.pace(stamped=True, pace=_APART)
    await rig.answer_with("token " * 100)
    alone = await _read(rig, await conversation_of(rig))
    await rig.pace(pace=_PACE)
    await rig.answer_with("token " * tokens)
    conversations = [await conversation_of(rig) for _ in range(streams)]
    together = await asyncio.gather(*(_read(rig, each) for each in conversations))
    lost = sum(len(_stamps(each.stored)) - len(each.ages) for each in together if each.stored)
    complete = [each for each in together if each.stored]
    differing = sum(each.text != each.stored or len(_stamps(each.stored)) != tokens for each in complete)
    again = sum(each.resets > 0 for each in complete)
    ages = [age for each in together for age in each.ages]
    half, most = median(alone.ages), percentile(alone.ages, 95)
    written = [each.written for each in together if each.stored]
    paces = [(len(stamps) - 1) / (stamps[-1] - stamps[0]) for stamps in written]
    at_once = _most_at_once(written)
    kept = f"{at_once} at once, {median(paces):.1f} tokens/s (least {min(paces):.1f})"
    as_meant = at_once == streams and min(paces) >= 0.9 / _PACE
    return [
        Row("a token from provider to client, p50", _ms(half), target="≤ 5 ms", met=half <= 0.005),
        Row("a token from provider to client, p95", _ms(most), target="≤ 20 ms", met=most <= 0.020),
        Row(f"{streams} streams of 20 tokens/s: written", kept, target=f"{streams} at once, 20 tokens/s", met=as_meant),
        Row("their answers that failed", str(streams - len(complete)), f"{again} more were begun again", target="0", met=len(complete) == streams),
        Row("their deltas that were lost", str(lost), f"of {streams * tokens:,}", target="0", met=lost == 0),
        Row("streams that differ from their message", str(differing), target="0", met=differing == 0),
        Row("a token's age among them, p50", _ms(median(ages)), f"p95 {_ms(percentile(ages, 95))}"),
        frame,
    ]  # fmt: skip


def _most_at_once(written: Sequence[Sequence[float]]) -> int:
    """Count the streams that were written at once, at most."""
    changes = sorted(change for stamps in written for change in ((stamps[0], 1), (stamps[-1], -1)))
    return max(accumulate(change for _, change in changes))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _stamps(text: str) -> list[int]:
    return [int(word) for word in text.split()]


async def _read(rig: Rig, conversation: str) -> _Stream:
    """Ask, and read the stream to its end."""
    seen, name = _Stream(), ""
    url = f"/api/v1/conversations/{conversation}/messages"
    async with rig.http.stream("POST", url, json={"content": "Why?", "stream": True}, timeout=600) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                _take(seen, name, json.loads(line.removeprefix("data:")))
    return seen


def _take(seen: _Stream, name: str, data: dict[str, object]) -> None:
    match name:
        case "message.delta":
            now = time.time_ns() / 1000
            seen.text += str(data["text"])
            seen.ages += [(now - stamp) / 1e6 for stamp in _stamps(str(data["text"]))]
        case "message.reset":
            seen.text, seen.ages = "", []
            seen.resets += 1
        case "message.completed":
            message = data["message"]
            seen.stored = str(message["content"]) if isinstance(message, dict) else ""
        case _:
            pass  # the turn's beginning
