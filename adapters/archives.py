"""Archives that are not trusted: read in order, one member at a time, within limits, into numbered files.

No path of an archive is ever used as one. Links and devices are no members; what is encrypted or packed
by an unknown method is refused by itself, and so is an archive in an archive, as a format that is not read.
"""

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from domain.errors import ArchiveLimit, CorruptArchive, CorruptFile, DomainError, EncryptedFile, UnsupportedFormat
from domain.imports import Intake, Refusal, Taken, is_junk, name_of

_PIECE = 1 << 18
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP = b"\x1f\x8b"
_TAR_MAGIC = slice(257, 262)

HEAD_BYTES = 512
"""How much of an archive `kind_of` wants to see."""

# Repetitive text packs to a fiftieth; whoever goes beyond this means harm, or means zeros.
_RATIO = 200
_FREE_BYTES = 64 << 20

_BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
_CORRUPT = "The archive is damaged and cannot be read to its end. Pack it again and import that."


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold; a member may have `file_bytes`, all together `total_bytes`."""

    files: int
    file_bytes: int
    total_bytes: int

    @property
    def directory_bytes(self) -> int:
        """What may be read in one go: a directory, or a long name."""
        return max(1 << 20, self.files * 512)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A member that was looked at; `path` holds its bytes if it was taken."""

    position: int
    found: Taken | Refusal
    path: Path | None


def kind_of(head: bytes) -> str | None:
    """Tell an archive by its first bytes; None for what is not read as one."""
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(_GZIP):
        return "tar.gz"
    return "tar" if head[_TAR_MAGIC] == b"ustar" else None


class Archive:
    """Members of an archive from `first` on, in its own order. Close it after use."""

    def __init__(self, path: Path, limits: ArchiveLimits, first: int) -> None:
        self._limits = limits
        self._first = first
        self._exits = ExitStack()
        self._total = 0
        self._size = path.stat().st_size
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD_BYTES))
        self._members = self._guarded(self._open(path, kind))

    def close(self) -> None:
        """Close the files."""
        self._exits.close()

    def some(self, count: int, folder: Path) -> list[Unpacked]:
        """Unpack the next members into `folder`; none at the end. Raises `CorruptArchive`, `ArchiveLimit`."""
        found: list[Unpacked] = []
        for position, path, size, member in self._members:
            target = folder / f"{position:08d}"
            found.append(Unpacked(position, *self._take(path, size, member, target)))
            if len(found) == count:
                break
        return found

    def _take(self, path: str, size: int, member: "_Member", target: Path) -> tuple[Taken | Refusal, Path | None]:
        name = name_of(path)
        intake = Intake(name, self._limits.file_bytes)
        try:
            with target.open("wb") as file:
                for piece in member.pieces():
                    self._count(len(piece))
                    intake.take(piece)
                    file.write(piece)
            return intake.finish(), target
        except (CorruptArchive, ArchiveLimit):
            raise
        except DomainError as error:
            target.unlink(missing_ok=True)
            return Refusal.of(name, max(size, intake.size), error), None

    def _count(self, size: int) -> None:
        self._total += size
        if self._total > max(_FREE_BYTES, _RATIO * self._size):
            raise ArchiveLimit(
                f"Unpacked, the archive is more than {_RATIO} times as large as it is packed, which no ordinary files "
                "are. Import them without an archive."
            )
        if self._total > self._limits.total_bytes:
            raise ArchiveLimit(
                f"Unpacked, the archive is larger than {self._limits.total_bytes} bytes, the most that this server "
                "takes. Split it, or raise CHATSPHERE_IMPORT_MAX_BYTES."
            )

    def _open(self, path: Path, kind: str | None) -> "Iterator[tuple[str, int, _Member]]":
        if kind == "zip":
            yield from self._zip(path)
        elif kind is None:
            raise CorruptArchive("The file is neither a ZIP nor a TAR archive. Import a .zip, .tar or .tar.gz.")
        else:
            yield from self._tar(path, kind)

    def _guarded(self, members: "Iterator[tuple[str, int, _Member]]") -> "Iterator[tuple[int, str, int, _Member]]":
        """Number what is a person's, leave out what is behind us, and translate what the readers raise."""
        position = 0
        try:
            for path, size, member in members:
                if is_junk(path):
                    continue
                if position >= self._limits.files:
                    raise ArchiveLimit(
                        f"The archive holds more than {self._limits.files} files, the most that this server takes. "
                        "Split it, or raise CHATSPHERE_IMPORT_MAX_FILES."
                    )
                if position >= self._first:
                    yield position, path, size, member
                position += 1
        except _BROKEN as error:
            raise CorruptArchive(_CORRUPT) from error

    def _zip(self, path: Path) -> "Iterator[tuple[str, int, _Member]]":
        file = self._exits.enter_context(path.open("rb"))
        bounded = _Bounded(file, self._limits.directory_bytes)
        archive = self._exits.enter_context(zipfile.ZipFile(bounded))
        bounded.limit = _PIECE * 4
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, _ZipMember(archive, info)

    def _tar(self, path: Path, kind: str) -> "Iterator[tuple[str, int, _Member]]":
        file = self._exits.enter_context(path.open("rb"))
        source: _Source = file
        if kind == "tar.gz":
            source = self._exits.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
        bounded = _Bounded(source, self._limits.directory_bytes)
        archive = tarfile.open(fileobj=bounded, mode="r:")  # noqa: SIM115  (closed by `close`)
        self._exits.callback(archive.close)
        skipped = 0
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every header
            skipped += 0 if info.isreg() else 1
            if skipped > self._limits.files * 10:
                raise ArchiveLimit("The archive holds too many entries that are no files. Pack the files alone.")
            if info.isreg():
                yield info.name, info.size, _TarMember(archive, info)


class _Member:
    def pieces(self) -> Iterator[bytes]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _ZipMember(_Member):
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def pieces(self) -> Iterator[bytes]:
        """Read a member; a damaged one is refused by itself, the others have their own places."""
        if self.info.flag_bits & 0x1:
            raise EncryptedFile("The file is packed with a password. Pack it without one.")
        try:
            with self.archive.open(self.info) as file:
                while piece := file.read(_PIECE):
                    yield piece
        except NotImplementedError:
            raise UnsupportedFormat(
                "The file is packed by a method that is not read. Pack it as an ordinary ZIP."
            ) from None
        except _BROKEN as error:
            raise CorruptFile("The file is damaged in the archive. Pack it again.") from error


@dataclass(frozen=True, slots=True)
class _TarMember(_Member):
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    def pieces(self) -> Iterator[bytes]:
        """Read a member; behind a damaged place nothing can be read."""
        try:
            file = self.archive.extractfile(self.info)
            while file is not None and (piece := file.read(_PIECE)):
                yield piece
        except _BROKEN as error:
            raise CorruptArchive(_CORRUPT) from error


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> int: ...
    def tell(self) -> int: ...


class _Bounded(io.RawIOBase):
    """A file of which no more than `limit` bytes are read in one go: lengths in an archive are not trusted."""

    def __init__(self, file: _Source, limit: int) -> None:
        self._file = file
        self.limit = limit

    def read(self, size: int | None = -1) -> bytes:
        wanted = self.limit + 1 if size is None or size < 0 else size
        found = self._file.read(wanted) if wanted <= self.limit + 1 else None
        if found is None or len(found) > self.limit:
            raise ArchiveLimit("The archive's directory is larger than is allowed. Split the archive.")
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
