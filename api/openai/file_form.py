"""A file's way from a form of OpenAI's to the blob store: as it comes, counted, hashed and looked at."""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from api.body_limit import too_large
from api.multipart import FormReader, Part, boundary_of, broken_form
from api.uploads import clean_name
from domain.documents import Format
from domain.errors import InvalidRequest
from domain.formats import Sample, detect
from domain.ports import BlobStore

PURPOSES = ("assistants", "user_data")
SHORTEST, LONGEST = 3600, 2_592_000  # seconds that a file may be asked to live, as in OpenAI's API
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_FIELD_BYTES = 100


@dataclass(slots=True)
class Received:
    """What was learnt of a file whose bytes are stored."""

    name: str
    purpose: str
    format: Format
    content_type: str
    size_bytes: int
    sha256: str
    expires_seconds: int | None


@dataclass(slots=True)
class _Form(FormReader):
    """Collects the file's bytes to pass on, and the fields to keep."""

    file: Part | None = None
    fields: dict[str, bytearray] = field(default_factory=dict)
    passing: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        FormReader.__init__(self)

    def begin_part(self) -> None:
        """Take one file; other parts are passed over."""
        if self.part.name == "file" and self.part.filename is not None:
            if self.file is not None:
                raise InvalidRequest("Send one file a request.", param="file")
            self.file = self.part
        elif self.part.name in _FIELDS:
            self.fields[self.part.name] = bytearray()

    def take(self, data: bytes) -> None:
        """Pass the file's bytes on; keep a field's that is known, as long as it is short."""
        if self.part is self.file:
            self.passing += data
        elif self.part.name in _FIELDS:
            self.fields[self.part.name] += data
            if len(self.fields[self.part.name]) > _FIELD_BYTES:
                raise InvalidRequest("The field is too long.", param=self.part.name)

    def text(self, name: str) -> str:
        """Read a field; empty where it is missing."""
        return self.fields.get(name, bytearray()).decode("utf-8", "replace").strip()


async def receive(request: Request, blobs: BlobStore, key: str, *, limit: int) -> Received:
    """Store the form's file under a key. Raises for what is not taken, before the bytes are kept."""
    form, sample, sha = _Form(), Sample(), hashlib.sha256()
    size = 0
    found: tuple[Format, str] | None = None

    async def passing(parser: MultipartParser) -> AsyncIterator[bytes]:
        nonlocal size, found
        async for data in request.stream():
            parser.write(data)
            passed = bytes(form.passing)
            form.passing.clear()
            size += len(passed)
            if size > limit:
                raise too_large(limit)
            sha.update(passed)
            sample.take(passed)
            yield passed
        found = _checked(form, sample)

    parser = form.parser(boundary_of(request.headers.get("content-type", ""), param="file"))
    try:
        await blobs.put(key, passing(parser))
    except FormParserError as error:
        raise broken_form(param="file") from error
    assert found is not None  # noqa: S101  (the stream ends with it)
    format_, content_type = found
    return Received(_name(form), form.text("purpose"), format_, content_type, size, sha.hexdigest(), _expiry(form))


def _checked(form: _Form, sample: Sample) -> tuple[Format, str]:
    """Tell the file's format. Raises where the form is not whole, or says what is not offered."""
    if not form.ended:
        raise broken_form(param="file")
    if form.file is None:
        raise InvalidRequest("The part `file` is missing; send the file under this name.", param="file")
    if form.text("purpose") not in PURPOSES:
        raise InvalidRequest(f"Send one of the purposes {', '.join(PURPOSES)}.", param="purpose")
    _expiry(form)
    _name(form)
    return detect(sample.head, form.file.filename or "", form.file.content_type, sample.tail)


def _name(form: _Form) -> str:
    given = (form.file.filename if form.file else None) or ""
    return clean_name(re.split(r"[/\\]", given)[-1] or "upload")


def _expiry(form: _Form) -> int | None:
    anchor, text = form.text("expires_after[anchor]"), form.text("expires_after[seconds]")
    if not anchor and not text:
        return None
    if anchor != "created_at" or not (text.isascii() and text.isdigit()) or not SHORTEST <= int(text) <= LONGEST:
        raise InvalidRequest(
            f"A file expires from {SHORTEST} to {LONGEST} seconds after `created_at`.", param="expires_after"
        )
    return int(text)
