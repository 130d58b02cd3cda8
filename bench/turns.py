"""What a turn costs beyond the model: measured whole through HTTP against a direct call.

The direct call embeds the question, searches, picks passages and streams the answer with the same code in this
process, against the same database and double. The double answers at once, or paces its tokens. A turn
that is compared has what a direct call has: its conversation has a name, and nothing was said before.
What naming and condensing add, a call of the model each, are rows of their own.
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
from domain.bots import RetrievalConfiguration
from domain.ids import BotId, UserId
from domain.passages import diverse, pick_passages
from domain.ports import AnswerRequest, TextDelta
from domain.prompts import PASSAGE_BUDGET
from domain.retrieval import SearchMode

_PAGES = 370  # about 1,000 chunks
_CANDIDATES = 50  # as a turn looks at
_FOLLOW_UPS = 4  # turns of a conversation
_ANSWER = "The contract names a delivery, a warranty and a period [1]."


async def measure(rig: Rig, *, rounds: int = 40, seconds: float = 10.0) -> list[Row]:
    """Give the turn rows of the target table."""
    await _fill(rig)
    await rig.answer_with(_ANSWER)
    asked = questions()
    direct, whole, naming, following = [], [], [], []
    talk = ""
    for number in range(rounds + 3):
        direct.append(await _timed(_direct(rig, next(asked))))
        whole.append(await _timed(take_turn(rig, await conversation_of(rig), next(asked))))
        naming.append(await _timed(take_turn(rig, await conversation_of(rig, title=None), next(asked))))
        if not number % _FOLLOW_UPS:
            talk = await conversation_of(rig)
            await take_turn(rig, talk, next(asked))
        following.append(await _timed(take_turn(rig, talk, next(asked))))
        if number < 3:
            for measured in (direct, whole, naming, following):
                measured.clear()
    await rig.pace(pace=0.02)
    first_direct, first_whole = [], []
    for _ in range(rounds // 2):
        first_direct.append(await _first(_direct_deltas(rig, next(asked))))
        first_whole.append(await _first(_turn_deltas(rig, await conversation_of(rig), next(asked))))
    await rig.pace(pace=0.0)
    rate = await _saturate(rig, asked, seconds, turns=1)
    rate_following = await _saturate(rig, asked, seconds, turns=_FOLLOW_UPS)
    bare = median(direct)
    added, added_95 = median(whole) - bare, percentile(whole, 95) - bare
    later = median(first_whole) - median(first_direct)
    return [
        Row("turn, all but the model, p50", _ms(added), f"direct {_ms(bare)}", target="≤ 45 ms", met=added <= 0.045),
        Row("turn, all but the model, p95", _ms(added_95), f"direct {_ms(bare)}", target="≤ 90 ms", met=added_95 <= 0.090),
        Row("the same where the conversation is named, p50", _ms(median(naming) - bare), f"direct {_ms(bare)}"),
        Row("the same for a follow-up, condensed, p50", _ms(median(following) - bare), f"direct {_ms(bare)}"),
        Row("to the first token, beyond a direct call, p50", _ms(later), f"direct {_ms(median(first_direct))}", target="≤ 40 ms", met=later <= 0.040),
        Row("turns/s at saturation, one worker", f"{rate:.0f}", target="≥ 40", met=rate >= 40),
        Row(f"the same in conversations of {_FOLLOW_UPS} turns", f"{rate_following:.0f}"),
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
            embedding_model=rig.models.embedder.model, mode=SearchMode.HYBRID, limit=_CANDIDATES,
            fluency=rig.models.embedder.fluency(question),
        )  # fmt: skip
    wanted = RetrievalConfiguration()
    passages = pick_passages(
        diverse(hits, diversity=wanted.diversity, top_k=wanted.top_k),
        top_k=wanted.top_k, budget=PASSAGE_BUDGET, merge_neighbours=wanted.merge_neighbours,
    )  # fmt: skip
    async for event in rig.models.generator.stream(AnswerRequest(question, passages)):
        if isinstance(event, TextDelta):
            yield event.text


async def conversation_of(rig: Rig, *, title: str | None = "Bench") -> str:
    """Begin a conversation with the rig's bot; answers its id. Without a title the model is asked for one."""
    answer = await rig.http.post(f"/api/v1/bots/{rig.bot}/conversations", json={"title": title})
    identifier: str = answer.raise_for_status().json()["id"]
    return identifier


async def take_turn(rig: Rig, conversation: str, question: str) -> None:
    """Ask, and wait for the whole answer."""
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


async def _saturate(rig: Rig, asked: Iterator[str], seconds: float, *, turns: int) -> float:
    """Count turns that end within `seconds`: 24 people who never pause and begin anew after so many turns."""
    end, count = time.perf_counter() + seconds, 0

    async def talk() -> None:
        nonlocal count
        while time.perf_counter() < end:
            conversation = await conversation_of(rig)
            for _ in range(turns):
                await take_turn(rig, conversation, next(asked))
                count += 1

    started = time.perf_counter()
    await asyncio.gather(*(talk() for _ in range(24)))
    return count / (time.perf_counter() - started)
