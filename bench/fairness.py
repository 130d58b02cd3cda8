"""Two owners, 500 documents against one: how long the second one's takes, against its time alone.

By the database's own clock, from acceptance to ready. An embedding takes 200 ms, as a provider's does.
"""

import asyncio
from uuid import UUID

import httpx2

from bench.report import Row, median
from bench.rig import Rig, sign_in

_TRIES = 9


async def measure(rig: Rig, *, many: int = 500) -> list[Row]:
    """Give the row of fairness."""
    await rig.pace(embed_seconds=0.2)
    async with rig.stack.client() as http:
        _, bot = await sign_in(http, "other@example.com")
        alone = [await _took(rig, http, bot, f"alone {number}") for number in range(_TRIES)]
        gate = asyncio.Semaphore(8)

        async def upload(number: int) -> UUID:
            async with gate:
                return await _upload(rig.http, rig.bot, f"many {number}")

        documents = await asyncio.gather(*(upload(number) for number in range(many)))
        beside = [await _took(rig, http, bot, f"beside {number}") for number in range(_TRIES)]
        left = await rig.database.fetchval(
            "select count(*) from documents where status <> 'ready' and id = any($1)", documents
        )
    ratio = median(beside) / median(alone)
    return [
        Row(
            f"a document beside {many} of another owner ({left} left in line)",
            f"{median(beside):.2f} s",
            f"alone {median(alone):.2f} s",
            f"{ratio:.1f} times",
            "≤ 3 times",
            ratio <= 3 and left > 0,
        )
    ]


async def _took(rig: Rig, http: httpx2.AsyncClient, bot: UUID, name: str) -> float:
    document = await _upload(http, bot, name)
    await rig.ready([document])
    seconds: float = await rig.database.fetchval(
        "select extract(epoch from ready_at - created_at)::float8 from documents where id = $1", document
    )
    return seconds


async def _upload(http: httpx2.AsyncClient, bot: UUID, name: str) -> UUID:
    note = f"Note {name}. The key hangs on hook 31 in room 7, and whoever takes it signs for it."
    files = {"file": (f"{name}.txt", note.encode(), "text/plain")}
    answer = await http.post(f"/api/v1/bots/{bot}/documents", files=files)
    return UUID(answer.raise_for_status().json()["id"])
