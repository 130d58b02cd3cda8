"""What a streamed frame costs the process that reads it: ChatSphere's reading beside google-genai's, in turns."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
from google import genai
from google.genai import types

from adapters.models.gemini_frames import VERSION, GeminiStreams
from bench.report import Row, median
from bench.rig import Rig

_MODEL, _KEY = "gemini-2.5-flash", "bench"
_STREAMS, _FRAMES = 50, 200
_ROUNDS = 5
_BODY = {"contents": [{"parts": [{"text": "Why?"}], "role": "user"}]}


async def measure(rig: Rig) -> Row:
    """Read streams of 20 frames a second with both, and tell the processor time of a frame."""
    await rig.pace(pace=0.05)
    await rig.answer_with("token " * _FRAMES)
    url = str(rig.double.base_url).rstrip("/")
    async with httpx2.AsyncClient(trust_env=False, limits=httpx2.Limits(max_connections=_STREAMS)) as http:
        streams = GeminiStreams(http, base_url=url, key=_KEY, timeout=timedelta(seconds=60))
        options = types.HttpOptions(
            base_url=url,
            api_version=VERSION,
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=http,
        )
        client = genai.Client(api_key=_KEY, vertexai=False, http_options=options)
        ours, theirs = [], []
        for _ in range(_ROUNDS):
            ours.append(await _seconds(lambda: _ours(streams)))
            theirs.append(await _seconds(lambda: _theirs(client)))
    own, other = median(ours), median(theirs)
    return Row("processor time to read a frame of Gemini's", f"{1e6 * own:.0f} µs", f"google-genai {1e6 * other:.0f} µs", f"{own / other:.2f}")  # fmt: skip


async def _seconds(read: Callable[[], Awaitable[int]]) -> float:
    begun = time.process_time()
    frames = sum(await asyncio.gather(*(read() for _ in range(_STREAMS))))
    return (time.process_time() - begun) / frames


async def _ours(streams: GeminiStreams) -> int:
    return sum([1 async for _ in streams.frames(_MODEL, _BODY)])


async def _theirs(client: genai.Client) -> int:
    config = types.GenerateContentConfig(automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))
    stream = await client.aio.models.generate_content_stream(model=_MODEL, contents="Why?", config=config)
    return sum([1 async for _ in stream])
