"""Bytes go out as they came in."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from fastapi.responses import StreamingResponse
from sqlalchemy import Row

from domain.ports import BlobStore


async def download(blobs: BlobStore, key: str, row: Row[Any]) -> StreamingResponse:
    """Stream a blob that `row` names, with its type, size and hash. Raises `NotFound` where it is missing."""
    content = await _begun(blobs.get(key))
    headers = {
        # Never shown in the page's own origin, whatever the bytes are.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Length": str(row.size_bytes),
        "ETag": f'"{row.sha256}"',
    }
    return StreamingResponse(content, media_type=row.content_type, headers=headers)


async def _begun(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first piece now, so that a missing blob is an answer and not a broken stream."""
    first = await anext(content, b"")

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for data in content:
            yield data

    return rest()
