"""FastAPI's BackgroundTasks: an upload answers at once, and the same process ingests in its thread pool."""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from fastapi import BackgroundTasks, FastAPI, UploadFile

from bench.rivals.programs import orm
from bench.rivals.programs.protocol import Outcome, serve

UPLOADS = Path(tempfile.gettempdir())
_UPLOADS_AT_ONCE = 16  # as many as the bench sends to ChatSphere

app = FastAPI()


@app.post("/documents")
def upload(file: UploadFile, reader: str, background: BackgroundTasks) -> dict[str, UUID]:
    """Keep the file, remember the document, ingest it after the answer."""
    path = UPLOADS / f"{uuid4()}.pdf"
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    document_id = orm.accept(str(path))
    background.add_task(_run, document_id, reader, path)
    return {"id": document_id}


def _run(document_id: UUID, reader: str, path: Path) -> None:
    try:
        orm.ingest(document_id, str(path), reader)
    finally:
        path.unlink()


async def _upload_all(http: httpx.AsyncClient, files: list[str], reader: str) -> list[UUID]:
    gate = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    async def send(file: str) -> UUID:
        async with gate:
            with open(file, "rb") as content:  # noqa: ASYNC230, PTH123  (a local file, and nothing else waits)
                answer = await http.post("/documents", params={"reader": reader}, files={"file": content})
        return UUID(answer.raise_for_status().json()["id"])

    return await asyncio.gather(*(send(file) for file in files))


def main() -> None:
    """Start the app, and send it what the bench asks for."""
    orm.Base.metadata.create_all(orm.engine())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", f"{__spec__.name}:app", "--port", str(port), "--log-level", "warning"],
        stdout=sys.stderr,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _await(client)

        def ingest(files: list[str], reader: str) -> Outcome:
            async def run() -> list[UUID]:
                # The server closes idle connections after 5 s, and other contestants take longer than that.
                afresh = httpx.Limits(max_keepalive_connections=0)
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600, limits=afresh) as http:
                    return await _upload_all(http, files, reader)

            return orm.outcome(asyncio.run(run()))

        serve(ingest)
    finally:
        server.terminate()
        server.wait()


def _await(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            client.get("/openapi.json").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("uvicorn does not answer")


if __name__ == "__main__":
    main()
