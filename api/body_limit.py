"""Bodies are bounded before they are read: by Content-Length at once, else by counting."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import PayloadTooLarge

JSON_BYTES = 1 << 20
TEXTS_BYTES = 8 << 20  # of texts to embed
MULTIPART_OVERHEAD = 64 << 10
IMPORT_OVERHEAD = 16 << 20  # headers of 10,000 parts with long names


class BodyLimit:
    """Let uploads be large, every other body small. Uploads count their file's own bytes as well."""

    def __init__(self, app: ASGIApp, upload_bytes: int, import_bytes: int) -> None:
        self._app = app
        self._upload_bytes = upload_bytes
        self._import_bytes = import_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413)
            return message

        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared) > limit:
            await self._app(scope, _refuse, send)
            return
        await self._app(scope, counted, send)

    def _limit(self, path: str) -> int:
        if path.endswith("/documents/text"):
            # JSON may write one byte of text as six: \u0000
            return 6 * self._upload_bytes + JSON_BYTES
        if path.endswith(("/documents", "/file", "/v1/files")):
            return self._upload_bytes + MULTIPART_OVERHEAD
        if path.endswith("/imports"):
            return self._import_bytes + IMPORT_OVERHEAD
        return TEXTS_BYTES if path.endswith("/v1/embeddings") else JSON_BYTES


async def _refuse() -> Message:
    raise HTTPException(413)


def too_large(limit: int) -> PayloadTooLarge:
    """Say how much is taken."""
    return PayloadTooLarge(f"The file is larger than {limit} bytes, the most that this server takes.", param="file")
