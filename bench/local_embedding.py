"""How many texts of 200 tokens a second the local embedder does.

Run `python -m bench.local_embedding`. Rates by wall clock and by CPU second; the latter holds on a busy machine.
"""

import asyncio
import os
from time import perf_counter, process_time

from adapters.models.local_embedding import LocalEmbedder

_TEXT = "library " * 198  # and two special tokens
_TEXTS = 64


async def _measure(embedder: LocalEmbedder, batch: int, name: str) -> None:
    wall, cpu = perf_counter(), process_time()
    for _ in range(_TEXTS // batch):
        await embedder.embed_documents([_TEXT] * batch)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    print(f"{name:<28}{_TEXTS / wall:>10.1f}{_TEXTS / cpu:>14.1f}")


async def main() -> None:
    print(f"{os.cpu_count()} CPUs, 200 tokens a text\n{'':<28}{'texts/s':>10}{'texts/CPU s':>14}")
    for threads in (1, 2):
        embedder = LocalEmbedder(width=768, threads=threads)
        wall = perf_counter()
        await embedder.embed_query("first")
        print(f"{threads} threads, loading and one question: {perf_counter() - wall:.2f} s")
        for batch in (1, 8, 32):
            await _measure(embedder, batch, f"{threads} threads, {batch} a call")


if __name__ == "__main__":
    asyncio.run(main())
