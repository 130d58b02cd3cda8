"""What a turn costs beyond the model: measured whole through HTTP against a direct call.

The direct call embeds the question, searches and streams the answer with the same adapters in this
process, against the same database and double. The double answers at once, or paces its tokens.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from adapters.postgres.engine import transaction
from adapters.postgres.search import search
from bench.corpus import pdf, questions
from bench.report import Row, median, percentile
from bench.rig import Rig
from domain.ids import BotId, UserId
from domain.ports import AnswerRequest, TextDelta
from domain.retrieval import SearchMode, pick_passages

_PAGES = 370  # about 1,000 chunks
_ANSWER = "The contract names a delivery, a warranty and a period [1]."


async def measure(rig: Rig, *, rounds: int = 40, seconds: float = 10.0) -> list[Row]:
    """Give the turn rows of the target table."""
    await _fill(rig)
    await _answer_with(rig, _ANSWER)
    asked = questions()
    direct, whole = [], []
    for number in range(rounds + 3):
        direct.append(await _timed(_direct(rig, next(asked))))
        whole.append(await _timed(_turn(rig, await _conversation(rig), next(asked))))
        if number < 3:
            direct.clear()
            whole.clear()
    await rig.pace(pace=0.02)
    first_direct, first_whole = [], []
    for _ in range(rounds // 2):
        first_direct.append(await _first(_direct_deltas(rig, next(asked))))
        first_whole.append(await _first(_turn_deltas(rig, await _conversation(rig), next(asked))))
    await rig.pace(pace=0.0)
    rate = await _saturate(rig, asked, seconds)
    added, added_95 = median(whole) - median(direct), percentile(whole, 95) - median(direct)
    later = median(first_whole) - median(first_direct)
    return [
        Row("turn, all but the model, p50", _ms(added), f"direct {_ms(median(direct))}", target="≤ 45 ms", met=added <= 0.045),
        Row("turn, all but the model, p95", _ms(added_95), f"direct {_ms(median(direct))}", target="≤ 90 ms", met=added_95 <= 0.090),
        Row("to the first token, beyond a direct call, p50", _ms(later), f"direct {_ms(median(first_direct))}", target="≤ 40 ms", met=later <= 0.040),
        Row("turns/s at saturation, one worker", f"{rate:.0f}", target="≥ 40", met=rate >= 40),
    ]  # fmt: skip


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


async def _fill(rig: Rig) -> None:
    """Give a bot of its own about 1,000 chunks."""
    answer = await rig.http.post(
        f"/api/v1/bots/{rig.bot}/documents",
        files={"file": ("turns.pdf", pdf(_PAGES, seed=77), "application/pdf")},
    )
    document = UUID(answer.raise_for_status().json()["id"])
    await rig.ready([document])


async def _answer_with(rig: Rig, text: str) -> None:
    (await rig.double.post("/_settings", json={"answer": text})).raise_for_status()


async def _timed(call: Any) -> float:
    started = time.perf_counter()
    await call
    return time.perf_counter() - started


async def _first(deltas: AsyncIterator[str]) -> float:
    started = time.perf_counter()
    taken = None
    async for _ in deltas:
        taken = taken or time.perf_counter() - started
    assert taken is not None
    return taken


async def _direct(rig: Rig, question: str) -> None:
    async for _ in _direct_deltas(rig, question):
        pass


async def _direct_deltas(rig: Rig, question: str) -> AsyncIterator[str]:
    vector = await rig.models.embedder.embed_query(question)
    async with transaction(rig.engine) as connection:
        hits = await search(
            connection, UserId(rig.owner), BotId(rig.bot), question, vector,
            embedding_model=rig.models.embedder.model, mode=SearchMode.HYBRID, limit=20,
        )  # fmt: skip
    passages = pick_passages(hits, top_k=6, budget=3000)
    async for event in rig.models.generator.stream(AnswerRequest(question, passages)):
        if isinstance(event, TextDelta):
            yield event.text


async def _conversation(rig: Rig) -> str:
    answer = await rig.http.post(f"/api/v1/bots/{rig.bot}/conversations", json={})
    identifier: str = answer.raise_for_status().json()["id"]
    return identifier


async def _turn(rig: Rig, conversation: str, question: str) -> None:
    answer = await rig.http.post(
        f"/api/v1/conversations/{conversation}/messages", json={"content": question}, timeout=60
    )
    assert answer.raise_for_status().json()["status"] == "complete", answer.text


async def _turn_deltas(rig: Rig, conversation: str, question: str) -> AsyncIterator[str]:
    body = {"content": question, "stream": True}
    async with rig.http.stream(
        "POST", f"/api/v1/conversations/{conversation}/messages", json=body, timeout=60
    ) as answer:
        answer.raise_for_status()
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:") and name == "message.delta":
                yield json.loads(line.removeprefix("data:"))["text"]


async def _saturate(rig: Rig, asked: Iterator[str], seconds: float) -> float:
    """Count turns that end within `seconds`, from 24 conversations that never pause."""
    end, count = time.perf_counter() + seconds, 0

    async def talk() -> None:
        nonlocal count
        conversation = await _conversation(rig)
        while time.perf_counter() < end:
            await _turn(rig, conversation, next(asked))
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*(talk() for _ in range(24)))
    return count / (time.perf_counter() - started)
