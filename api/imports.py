"""Many files' way from one request to the blob store: each as it comes, none held in memory."""

import hashlib
from collections import deque
from collections.abc import AsyncIterator

from fastapi import Request
from python_multipart.exceptions import FormParserError

from adapters.archives import HEAD_BYTES, ArchiveLimits, kind_of
from adapters.postgres.import_items import Entry
from api.multipart import FormReader, Part, boundary_of, broken_form
from api.uploads import METADATA_BYTES, NAME_LENGTH, bad_name, clean_name, field_text, metadata_too_long
from domain.blobs import archive_key, document_prefix, import_prefix, source_key
from domain.errors import DomainError, InvalidRequest, PayloadTooLarge, UnsupportedFormat
from domain.filters import Metadata, read_metadata
from domain.ids import ImportId
from domain.imports import Intake, Refusal, Taken, name_of
from domain.ports import BlobStore

_FIELD_BYTES = 4 * NAME_LENGTH + 1


class _End:
    """The end of a part."""


_Event = Part | bytes | _End


class _Reader(FormReader):
    """Turns the request's bytes into parts, pieces and ends of parts, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: deque[_Event] = deque()

    def begin_part(self) -> None:
        """Tell of the part."""
        self.events.append(self.part)

    def take(self, data: bytes) -> None:
        """Tell of the piece."""
        self.events.append(data)

    def end_part(self) -> None:
        """Tell of the end."""
        self.events.append(_End())


class Received:
    """What an import's form held: files as entries, or one archive."""

    def __init__(self, blobs: BlobStore, import_id: ImportId, limits: ArchiveLimits) -> None:
        self._blobs = blobs
        self._id = import_id
        self._limits = limits
        self._total = 0
        self._sha = hashlib.sha256()
        self.entries: list[Entry] = []
        self.archive: str | None = None
        self._name: str | None = None
        self._metadata: Metadata | None = None

    @property
    def metadata(self) -> Metadata:
        """What each of its documents is given."""
        return self._metadata or {}

    @property
    def name(self) -> str:
        """The import's name: as given, else the archive's, else by the first file."""
        if self._name is not None or self.archive is not None:
            return self._name or self.archive or ""
        more = len(self.entries) - 1
        return self.entries[0].found.name if not more else f"{self.entries[0].found.name} and {more} more"[:NAME_LENGTH]

    def fingerprint(self) -> bytes:
        """Stand for the body: the same files under the same names."""
        return self._sha.digest()

    async def drop(self) -> None:
        """Delete what was stored, since nothing came of it."""
        await self._blobs.delete_prefix(import_prefix(self._id))
        for entry in self.entries:
            if isinstance(entry.found, Taken):
                await self._blobs.delete_prefix(document_prefix(entry.document_id))

    async def take(self, request: Request) -> None:
        """Read the whole form. Raises `InvalidRequest`, `PayloadTooLarge`, `UnsupportedFormat`."""
        events = _events(request)
        async for event in events:
            if not isinstance(event, Part):
                raise broken_form(param="files")
            await self._part(event, _bytes(events))
        if (self.archive is None) == (not self.entries):
            raise InvalidRequest("Send parts `files`, which are files, or one part `archive`.", param="files")

    async def _part(self, part: Part, content: AsyncIterator[bytes]) -> None:
        if part.name == "name" and part.filename is None and self._name is None:
            self._name = clean_name(await _field(content, "name", _FIELD_BYTES))
            self._sha.update(f"name\0{self._name}\0".encode())
        elif part.name == "metadata" and part.filename is None and self._metadata is None:
            given = await _field(content, "metadata", METADATA_BYTES)
            self._metadata = read_metadata(given)
            self._sha.update(f"metadata\0{given}\0".encode())
        elif part.name == "files" and part.filename is not None:
            await self._file(part, content)
        elif part.name == "archive" and part.filename is not None and self.archive is None:
            self.archive = name_of(part.filename)
            await self._blobs.put(archive_key(self._id), self._archive(content))
        else:
            raise InvalidRequest(
                "The form takes parts `files` or one part `archive`, and one part each of `name` and `metadata`.",
                param="files",
            )

    async def _file(self, part: Part, content: AsyncIterator[bytes]) -> None:
        if len(self.entries) >= self._limits.files:
            raise PayloadTooLarge(f"An import takes {self._limits.files} files at most.", param="files")
        name = name_of(part.filename or "")
        intake = Intake(name, self._limits.file_bytes, part.content_type)
        entry = Entry.at(len(self.entries), Refusal(name, 0, "", ""))
        found: Taken | Refusal
        try:
            await self._blobs.put(source_key(entry.document_id, entry.ingestion_id), self._seen(content, intake))
            found = intake.finish()
        except DomainError as error:
            if error.param == "files":  # the form's own fault, not this file's
                raise
            found = await self._refused(intake, content, error)
        self.entries.append(Entry(entry.position, found, entry.document_id, entry.ingestion_id))
        digest = found.sha256 if isinstance(found, Taken) else found.code
        self._sha.update(f"{name}\0{digest}\0".encode())

    async def _refused(self, intake: Intake, content: AsyncIterator[bytes], error: DomainError) -> Refusal:
        size = intake.size
        async for piece in content:
            self._count(piece)
            size += len(piece)
        return Refusal.of(intake.name, size, error)

    async def _seen(self, content: AsyncIterator[bytes], intake: Intake) -> AsyncIterator[bytes]:
        async for piece in content:
            self._count(piece)
            intake.take(piece)
            yield piece
        intake.finish()  # what is not taken is refused before the bytes are kept

    async def _archive(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        head = b""
        self._sha.update(f"archive\0{self.archive}\0".encode())
        async for piece in content:
            self._count(piece)
            self._sha.update(piece)
            if len(head) < HEAD_BYTES:
                head += piece[: HEAD_BYTES - len(head)]
                _require_archive(head, whole=False)
            yield piece
        _require_archive(head, whole=True)

    def _count(self, piece: bytes) -> None:
        self._total += len(piece)
        if self._total > self._limits.total_bytes:
            raise PayloadTooLarge(
                f"An import takes {self._limits.total_bytes} bytes at most. Send the files in several.", param="files"
            )


def _require_archive(head: bytes, *, whole: bool) -> None:
    if (whole or len(head) >= HEAD_BYTES) and kind_of(head) is None:
        raise UnsupportedFormat("The part `archive` is no .zip, .tar or .tar.gz.", param="archive")


async def _events(request: Request) -> AsyncIterator[_Event]:
    boundary = boundary_of(request.headers.get("content-type", ""), param="files")
    reader = _Reader()
    parser = reader.parser(boundary)
    async for data in request.stream():
        try:
            parser.write(data)
        except FormParserError as error:
            raise broken_form(param="files") from error
        while reader.events:
            yield reader.events.popleft()
    if not reader.ended:
        raise broken_form(param="files")


async def _bytes(events: AsyncIterator[_Event]) -> AsyncIterator[bytes]:
    """Yield one part's bytes, up to its end and no further."""
    async for event in events:
        if isinstance(event, _End):
            return
        if not isinstance(event, bytes):
            raise broken_form(param="files")
        yield event
    raise broken_form(param="files")


async def _field(content: AsyncIterator[bytes], name: str, limit: int) -> str:
    kept = bytearray()
    async for piece in content:
        kept += piece
        if len(kept) > limit:
            raise bad_name() if name == "name" else metadata_too_long()
    return field_text(kept, name)
