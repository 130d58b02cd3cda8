"""A file's way from the request to the blob store: as it comes, counted, hashed and looked at."""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from adapters.postgres.uploads import Upload
from api.body_limit import too_large
from api.multipart import FormReader, Part, boundary_of, broken_form
from domain.blobs import source_key
from domain.documents import Format, SourceType
from domain.encodings import canonical
from domain.errors import InvalidRequest
from domain.filters import Metadata, read_metadata
from domain.formats import Sample, detect
from domain.ids import DocumentId, IngestionId
from domain.ports import BlobStore

NAME_LENGTH = 255
METADATA_BYTES = 64 << 10
_FIELD_BYTES = 4 * NAME_LENGTH + 1
_FIELDS = ("name", "encoding", "keep_text_pages", "metadata")
_TAKEN = ", ".join(f"`{name}`" for name in _FIELDS)
_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0", ""})
_UNPRINTABLE = re.compile(r"[\x01-\x1f\x7f]")


class _Form(FormReader):
    """Collects what the parser calls back with: the file's bytes to pass on, the fields to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.file: Part | None = None
        self.fields: dict[str, bytearray] = {}
        self.passing = bytearray()

    def begin_part(self) -> None:
        """Take one file, and each field once."""
        part = self.part
        if part.name == "file" and part.filename is not None:
            if self.file is not None:
                raise InvalidRequest("Send one file a request.", param="file")
            self.file = part
        elif part.name in _FIELDS and part.name not in self.fields:
            self.fields[part.name] = bytearray()
        else:
            raise InvalidRequest(
                f"The form takes one part `file`, which is a file, and one part each of {_TAKEN}.", param="file"
            )

    def take(self, data: bytes) -> None:
        """Pass the file's bytes on; keep a field's, as long as it is short."""
        if self.part is self.file:
            self.passing += data
            return
        kept = self.fields[self.part.name]
        kept += data
        if len(kept) > (METADATA_BYTES if self.part.name == "metadata" else _FIELD_BYTES):
            raise _too_long(self.part.name)


@dataclass(slots=True)
class _Intake:
    """What is learnt of the bytes as they pass."""

    limit: int
    size: int = 0
    looked_at: Sample = field(default_factory=Sample)
    found: tuple[Format, str] | None = None
    sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def take(self, data: bytes, form: _Form) -> None:
        self.size += len(data)
        if self.size > self.limit:
            raise too_large(self.limit)
        self.sha.update(data)
        self.looked_at.take(data)
        if self.looked_at.suffices:
            self.detect(form)

    def detect(self, form: _Form) -> None:
        """Refuse what is not read, as soon as its first bytes are there; an archive when it has ended."""
        if form.file is None:
            raise InvalidRequest("The part `file` is missing; send the file under this name.", param="file")
        if self.found is None:
            self.found = detect(
                self.looked_at.head, form.file.filename or "", form.file.content_type, self.looked_at.tail
            )


async def receive(
    request: Request, blobs: BlobStore, document: DocumentId, ingestion: IngestionId, *, limit: int
) -> Upload:
    """Store the form's file under the version's key. Raises for what is not taken, before the rest is read."""
    boundary = boundary_of(request.headers.get("content-type", ""), param="file")
    form, intake = _Form(), _Intake(limit)
    try:
        await blobs.put(source_key(document, ingestion), _file_bytes(request, form.parser(boundary), form, intake))
    except FormParserError as error:
        raise broken_form(param="file") from error
    assert intake.found is not None  # noqa: S101  (the stream ends with a detection)
    assert form.file is not None  # noqa: S101  (and with a file)
    format_, content_type = intake.found
    return Upload(
        ingestion_id=ingestion,
        name=_name(form),
        source_type=SourceType.FILE,
        format=format_,
        content_type=content_type,
        size_bytes=intake.size,
        sha256=intake.sha.hexdigest(),
        encoding=_encoding(form, intake),
        keep_text_pages=_flag(form, "keep_text_pages"),
        metadata=_metadata(form),
    )


async def _file_bytes(request: Request, parser: MultipartParser, form: _Form, intake: _Intake) -> AsyncIterator[bytes]:
    async for data in request.stream():
        parser.write(data)
        if form.passing:
            passed = bytes(form.passing)
            form.passing.clear()
            intake.take(passed, form)
            yield passed
    if not form.ended:
        raise broken_form(param="file")
    intake.detect(form)
    _name(form)  # a bad name is refused before the bytes are kept
    _encoding(form, intake)
    _flag(form, "keep_text_pages")
    _metadata(form)


def _flag(form: _Form, name: str) -> bool:
    given = form.fields.get(name, bytearray()).decode("utf-8", "replace").strip().lower()
    if given not in _TRUE | _FALSE:
        raise _bad_flag(name)
    return given in _TRUE


def _metadata(form: _Form) -> Metadata | None:
    given = form.fields.get("metadata")
    return None if given is None else read_metadata(field_text(given, "metadata"))


def field_text(given: bytearray, name: str) -> str:
    """Read a field's bytes. Raises `InvalidRequest`."""
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The {name} is not UTF-8.", param=name) from error


def _too_long(name: str) -> InvalidRequest:
    if name == "metadata":
        return metadata_too_long()
    return _bad_flag(name) if name == "keep_text_pages" else bad_name()


def metadata_too_long() -> InvalidRequest:
    """Say how long metadata may be."""
    return InvalidRequest(f"Metadata has {METADATA_BYTES} bytes at most.", param="metadata")


def _bad_flag(name: str) -> InvalidRequest:
    return InvalidRequest(f"{name} is true or false.", param=name)


def bad_name() -> InvalidRequest:
    """Say what a name may be."""
    return InvalidRequest(f"A name has 1 to {NAME_LENGTH} characters and is not blank.", param="name")


def _name(form: _Form) -> str:
    if "name" in form.fields:
        return clean_name(field_text(form.fields["name"], "name"))
    given = (form.file.filename if form.file else None) or ""
    return clean_name(re.split(r"[/\\]", given)[-1] or "upload")


def _encoding(form: _Form, intake: _Intake) -> str | None:
    """Give the encoding that is asked for. Raises where it is unknown, or the file is no text."""
    asked = form.fields.get("encoding", bytearray()).decode("ascii", "replace").strip()
    if not asked:
        return None
    name = canonical(asked)
    if intake.found is not None and not intake.found[0].is_text:
        raise InvalidRequest("Only a file of text has an encoding; leave it out.", param="encoding")
    return name


def clean_name(name: str) -> str:
    """Strip a document's name. Raises where it is blank, too long or holds a NUL."""
    if "\0" in name:
        raise InvalidRequest("Text must not hold the NUL character (U+0000).", param="name")
    cleaned = _UNPRINTABLE.sub(" ", name).strip()
    if not cleaned or len(cleaned) > NAME_LENGTH:
        raise bad_name()
    return cleaned
