"""`domain.ports.BlobStore` in a local folder."""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from domain.errors import NotFound
from domain.ports import Removed

T = TypeVar("T")

_CHUNK = 1 << 20
# No segment begins with a dot: so none leads upwards, and none meets the folder of unfinished files.
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_UNFINISHED = ".unfinished"


class FolderBlobStore:
    """Blobs as files. A blob is seen when it is complete and on the disk, never before.

    A write goes to a file of its own, is synced, renamed to its key, and the folders are synced:
    what a crash leaves is the old blob or the new one. All of it runs beside the event loop.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        """Store a stream, replacing what was there."""
        path = self._path(key)
        file, name = await _opened(self._begin, lambda begun: _drop(*begun))
        try:
            async for piece in content:
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(self._finish, file, name, path)
        finally:
            await asyncio.shield(asyncio.to_thread(_drop, file, name))

    async def put_file(self, key: str, path: Path) -> None:
        """Store a local file, replacing what was there; the file may be moved away."""
        await asyncio.to_thread(self._put_file, self._path(key), path)

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream the bytes. Raises `NotFound` on the first read."""
        file = await _opened(partial(_open, self._path(key)), lambda opened: opened.close())
        try:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                yield piece
        finally:
            file.close()

    async def fetch(self, key: str, folder: Path) -> Path:  # noqa: ARG002  (other stores copy into it)
        """Give the blob's own path, to read only. Raises `NotFound`."""
        path = self._path(key)
        if not await asyncio.to_thread(path.is_file):
            raise _missing()
        return path

    async def folders(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        """Name the folders right under `prefix`, which ends in a slash, and when each was last changed."""
        for name, changed in await asyncio.to_thread(_folders, self._path(prefix.removesuffix("/"))):
            yield name, changed

    async def delete_prefix(self, prefix: str) -> Removed:
        """Delete every blob under `prefix`, which ends in a slash; folders left empty go as well."""
        if not prefix.endswith("/"):
            raise ValueError("A prefix ends in a slash.")
        return await asyncio.to_thread(self._delete, self._path(prefix.removesuffix("/")))

    async def drop_unfinished(self, before: datetime) -> int:
        """Drop what writers that died left of blobs; one that still writes has touched its file since."""
        return await asyncio.to_thread(_drop_older, self._root / _UNFINISHED, before.timestamp())

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(
                "A key is made of letters, digits, dots, dashes and slashes; no segment begins with a dot."
            )
        return self._root / key

    def _begin(self) -> tuple[BinaryIO, Path]:
        folder = self._root / _UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        return os.fdopen(handle, "wb"), Path(name)

    def _finish(self, file: BinaryIO, name: Path, path: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._publish(name, path)

    def _publish(self, name: Path, path: Path) -> None:
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                name.replace(path)
            except (FileNotFoundError, FileExistsError):
                if not name.exists() or path.parent.is_file():
                    raise
                continue  # a folder on the way was pruned just now, being empty
            break
        folder = path.parent
        while folder != self._root.parent:
            with suppress(FileNotFoundError):  # pruned by a deletion that came after
                _sync_folder(folder)
            folder = folder.parent

    def _put_file(self, path: Path, source: Path) -> None:
        file, name = self._begin()
        try:
            # A copy where it is on another file system, else the file itself moves in.
            if source.stat().st_dev == name.stat().st_dev:
                file.close()
                source.replace(name)
                file = name.open("r+b")
            else:
                with source.open("rb") as origin:
                    shutil.copyfileobj(origin, file, _CHUNK)
            self._finish(file, name, path)
        finally:
            _drop(file, name)

    def _delete(self, folder: Path) -> Removed:
        removed = Removed()
        for directory, _, names in os.walk(folder, topdown=False):
            for name in names:
                with suppress(FileNotFoundError):
                    size = (Path(directory) / name).stat().st_size
                    (Path(directory) / name).unlink()
                    removed += Removed(1, size)
            with suppress(OSError):  # a writer came in between, or another deletion was first
                Path(directory).rmdir()
        self._prune(folder.parent)
        return removed

    def _prune(self, folder: Path) -> None:
        while folder != self._root and folder.is_relative_to(self._root):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # another deletion was first
            except OSError:
                break  # not empty
            folder = folder.parent
        with suppress(FileNotFoundError):
            _sync_folder(folder)


async def _opened(opening: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Open beside the event loop. A thread goes on when its caller is cancelled: what it opens for nobody is undone."""
    task = asyncio.ensure_future(asyncio.to_thread(opening))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            undo(task.result())
        raise


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise _missing() from None


def _folders(folder: Path) -> list[tuple[str, datetime]]:
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # deleted meanwhile
                if entry.is_dir(follow_symlinks=False):
                    found.append((entry.name, datetime.fromtimestamp(entry.stat().st_mtime, UTC)))
    return found


def _drop_older(folder: Path, before: float) -> int:
    count = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it was finished meanwhile
                if entry.stat().st_mtime < before:
                    Path(entry.path).unlink()
                    count += 1
    return count


def _missing() -> NotFound:
    return NotFound("The stored content is gone. Upload the document again.")


def _drop(file: BinaryIO, name: Path) -> None:
    file.close()
    name.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
