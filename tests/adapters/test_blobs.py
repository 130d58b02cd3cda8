"""Blobs in a local folder."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import adapters.blobs
from adapters.blobs import FolderBlobStore
from domain.errors import NotFound
from domain.ports import BlobStore, Removed


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return FolderBlobStore(tmp_path / "blobs")


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(blobs: BlobStore, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.get(key)])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_what_is_put_is_got(blobs: BlobStore) -> None:
    await blobs.put("documents/a/b/source", pieces(b"one ", b"", b"two"))
    assert await read(blobs, "documents/a/b/source") == b"one two"


async def test_a_large_blob_is_streamed_in_pieces(blobs: BlobStore) -> None:
    await blobs.put("large", pieces(b"x" * (5 << 20)))
    sizes = [len(piece) async for piece in blobs.get("large")]
    assert sum(sizes) == 5 << 20
    assert max(sizes) <= 1 << 20


async def test_a_second_put_replaces_the_first(blobs: BlobStore) -> None:
    await blobs.put("key", pieces(b"a longer first content"))
    await blobs.put("key", pieces(b"second"))
    assert await read(blobs, "key") == b"second"


@pytest.mark.parametrize("use", ["put", "get"])
async def test_what_is_opened_for_a_caller_that_was_cancelled_is_closed(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    await blobs.put("key", pieces(b"old"))
    opening, go_on, opened = threading.Event(), threading.Event(), list[Any]()
    place, name = (FolderBlobStore, "_begin") if use == "put" else (adapters.blobs, "_open")
    really = getattr(place, name)

    def slowly(*args: Any) -> Any:
        opening.set()
        go_on.wait(60)
        opened.append(really(*args))
        return opened[0]

    monkeypatch.setattr(place, name, slowly)
    using = asyncio.create_task(blobs.put("key", pieces(b"new")) if use == "put" else read(blobs, "key"))
    await asyncio.to_thread(opening.wait, 60)
    using.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await using
    file = opened[0][0] if use == "put" else opened[0]
    assert file.closed
    assert files(tmp_path) == ["blobs/key"]


async def test_a_stream_that_breaks_leaves_the_old_blob_and_no_file(blobs: BlobStore, tmp_path: Path) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    await blobs.put("key", pieces(b"whole"))
    with pytest.raises(ConnectionResetError):
        await blobs.put("key", breaks())
    assert await read(blobs, "key") == b"whole"
    assert files(tmp_path / "blobs") == ["key"]


async def test_a_cancelled_put_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        yield b"half"
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put("key", hangs()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path / "blobs") == []


async def test_a_file_is_stored_whole(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "pages.jsonl"
    source.write_bytes(b"content")
    await blobs.put_file("documents/a/b/derived/pages.jsonl", source)
    assert await read(blobs, "documents/a/b/derived/pages.jsonl") == b"content"
    assert files(tmp_path / "blobs") == ["documents/a/b/derived/pages.jsonl"]


async def test_fetch_gives_a_readable_path(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.put("key", pieces(b"content"))
    path = await blobs.fetch("key", tmp_path)
    assert path.read_bytes() == b"content"


async def test_what_is_not_there_is_not_found(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await read(blobs, "documents/none")
    with pytest.raises(NotFound):
        await blobs.fetch("documents/none", tmp_path)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "a/./b", ".unfinished/x", "a\\b", "a\x00b", "a b"]
)
async def test_a_key_that_could_lead_elsewhere_is_refused(blobs: BlobStore, key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key"):
        await blobs.put(key, pieces(b"x"))
    with pytest.raises(ValueError, match="key"):
        await blobs.fetch(key, tmp_path)
    with pytest.raises(ValueError, match="key"):
        await blobs.delete_prefix(key + "/")


async def test_deleting_a_prefix_deletes_it_all_and_nothing_beside_it(blobs: BlobStore, tmp_path: Path) -> None:
    for key in ("documents/a/1/source", "documents/a/1/derived/plan/000000.jsonl", "documents/ab/1/source"):
        await blobs.put(key, pieces(b"x"))
    assert (await blobs.delete_prefix("documents/a/")).blobs == 2
    assert await blobs.delete_prefix("documents/a/") == Removed()
    assert files(tmp_path / "blobs") == ["documents/ab/1/source"]
    assert not (tmp_path / "blobs/documents/a").exists()


async def test_folders_left_empty_are_pruned_up_to_the_root(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.put("documents/a/1/derived/pages.jsonl", pieces(b"x"))
    assert (await blobs.delete_prefix("documents/a/1/derived/")).blobs == 1
    assert not (tmp_path / "blobs/documents").exists()
    assert (tmp_path / "blobs").exists()


async def test_puts_and_deletions_of_neighbours_at_once_lose_nothing(blobs: BlobStore) -> None:
    async def put_and_drop(number: int) -> None:
        for _ in range(10):
            await blobs.put(f"documents/d/{number}/source", pieces(b"x"))
            assert (await blobs.delete_prefix(f"documents/d/{number}/")).blobs == 1

    await asyncio.gather(*(put_and_drop(number) for number in range(6)))
