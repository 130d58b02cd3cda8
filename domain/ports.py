"""What the activities need of the world. Adapters implement these; tests may bring fakes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from domain.conversation import ChatMessage
from domain.documents import Format
from domain.errors import DomainError
from domain.retrieval import Passage
from domain.web import Validators

Vectors = NDArray[np.float32]
"""Shape (texts, width), each row of length 1."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of one call, in the order of its texts, and the input tokens where they are told."""

    vectors: Vectors
    tokens: int = 0


class Embedder(Protocol):
    """Turns text into vectors of one fixed width. Raises `domain.errors.ProviderError` kinds."""

    @property
    def model(self) -> str:
        """Name provider and model, for example `gemini/gemini-embedding-001`."""

    @property
    def width(self) -> int:
        """Number of dimensions."""

    @property
    def batch_size(self) -> int:
        """How many texts one call takes."""

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed `batch_size` chunks at most, in one provider call."""

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question. Shape (width,)."""

    def fluency(self, text: str) -> float:
        """Tell how much of a text the model can read: 0 nothing, 1 all; 1 where it was made for every language."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may ask for; `parameters` is the JSON schema of its arguments, an object.

    `foreign` is what a stranger's server says of it, None for a tool of ours; then `parameters` are its words as well.
    """

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
    foreign: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model asks for. `signature` is the provider's own mark, which it wants back unread."""

    id: str
    name: str
    arguments: Mapping[str, JsonValue]
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave, or why it failed; `markers` name passages of the request that it gave besides."""

    call_id: str
    content: str
    failed: bool = False
    markers: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ModelStep:
    """An earlier step of the same answer: what the model said, asked for, and was given, one result a call."""

    text: str
    calls: Sequence[ToolCall]
    results: Sequence[ToolResult]


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """Everything that an answer is made of.

    `summary` tells of the conversation before `history`; `boundary` is the word that fences data off in the prompt,
    new for each request.
    """

    question: str
    passages: Sequence[Passage]
    history: Sequence[ChatMessage] = ()
    instructions: str = ""
    model: str | None = None
    temperature: float = 0.2
    max_tokens: int = 2048
    summary: str = ""
    tools: Sequence[ToolSpec] = ()
    steps: Sequence[ModelStep] = ()
    boundary: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer's end; always the last event of a stream that did not fail. `cut_off`: its tokens were spent."""

    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cut_off: bool = False


AnswerEvent = TextDelta | ToolCall | Finished


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A short text that the model is to write for the product itself, never for a reader."""

    system: str
    content: str
    model: str | None = None
    temperature: float = 0.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Completion:
    """What was written; cut off where `max_tokens` were spent."""

    text: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RecognizedPage:
    """The text of a page's image, empty where it shows none, and the tokens where they are told."""

    text: str
    tokens: int = 0


class TextRecognizer(Protocol):
    """Reads the text of page images (OCR).

    Raises `domain.errors.ProviderError` kinds, `SafetyBlocked` among them, and `UnreadablePage`; these
    two are of the one page, the others of all.
    """

    @property
    def model(self) -> str:
        """Name what reads."""

    @property
    def is_provider(self) -> bool:
        """Tell calls to a provider, which wait, from work of this machine, which takes its processor."""

    @property
    def pages_at_once(self) -> int:
        """How many pages of a document may be read side by side."""

    @property
    def dots_per_inch(self) -> int:
        """How fine an image it wants."""

    async def recognize(self, image: Path) -> RecognizedPage:
        """Read one JPEG."""


class Generator(Protocol):
    """Writes. Raises `domain.errors.ProviderError` kinds, `SafetyBlocked` included."""

    @property
    def model(self) -> str:
        """Name the default model."""

    @property
    def completes(self) -> bool:
        """Tell whether the default model can `complete`: not where it only quotes, and takes no tools then either."""

    def completes_with(self, model: str | None) -> bool:
        """Tell the same of a model that a bot names, or of the default where it names none."""

    def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerEvent]:
        """Yield deltas and tool calls, then one `Finished`. A stream of calls may have no text."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """Write a short text in one piece. Raises `ProviderRejected` where the provider only quotes."""


@dataclass(frozen=True, slots=True)
class ExtractionLimits:
    """What one extraction may take of the machine."""

    memory_bytes: int = 1 << 30
    cpu_seconds: int = 300
    wall_seconds: float = 600.0
    pages: int = 20_000
    output_bytes: int = 256 << 20
    archive_entries: int = 20_000
    archive_bytes: int = 1 << 30
    archive_ratio: int = 200


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """What an extraction wrote: one JSON object a line, `{"page": 1-based or null, "text": …}`.

    `encoding` is that of a file of text, as it was asked for or detected; `without_text` names the pages
    whose text has to be recognised from their image.
    """

    pages: int
    characters: int
    encoding: str | None = None
    without_text: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExtractionJob:
    """One document to read: `source` to `target`, both paths on this machine."""

    source: Path
    target: Path
    format: Format
    limits: ExtractionLimits = field(default_factory=ExtractionLimits)
    encoding: str | None = None  # none: detect it
    recognizable: bool = False
    """A document without readable text is no failure: its pages can be recognised."""


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One page, 1-based, to draw as a JPEG into `target`."""

    source: Path
    target: Path
    format: Format
    page: int
    dots_per_inch: int
    limits: ExtractionLimits = field(default_factory=ExtractionLimits)


class Extractor(Protocol):
    """Reads a document in a subprocess that can be killed. Raises `domain.errors.InvalidInput` kinds."""

    async def extract(self, job: ExtractionJob, progress: Callable[[int, int | None], None]) -> ExtractedText:
        """Write the pages; call `progress(done, total)` as they come. Cancelling kills the process."""

    async def render(self, job: RenderJob) -> None:
        """Draw one page of a document. Raises `UnreadablePage` where that cannot be done."""


class GroupExtractor(Protocol):
    """Reads several small documents of one owner in one subprocess, one after another."""

    async def extract_together(self, jobs: Sequence[ExtractionJob]) -> list[ExtractedText | DomainError | None]:
        """Write the pages of each; answers what was written, or why it cannot be read.

        None: the process died of this document, or before it came to it.
        """


@dataclass(frozen=True, slots=True)
class WebPage:
    """A server's answer. `content` streams once, unpacked, within the limits; nothing where it is not modified."""

    url: str  # after redirects
    status: int
    not_modified: bool
    content_type: str | None  # as the server says
    validators: Validators
    content: AsyncIterator[bytes]


class Fetcher(Protocol):
    """Fetches pages from public hosts. Raises `domain.errors.FetchFailed` kinds, `UrlInvalid`, `UrlRefused`."""

    def open(
        self, url: str, *, known: Validators = ..., limit: int | None = None
    ) -> AbstractAsyncContextManager[WebPage]:
        """Ask for a page, unless it is still the `known` one; its content streams while the block lasts."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Blobs that a deletion removed, and their bytes."""

    blobs: int = 0
    bytes: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.blobs + other.blobs, self.bytes + other.bytes)


class BlobStore(Protocol):
    """Bytes under keys such as `documents/<id>/<id>/source`. Writes are atomic: all or nothing."""

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        """Store a stream, replacing what was there."""

    async def put_file(self, key: str, path: Path) -> None:
        """Store a local file, replacing what was there; the file may be moved away."""

    def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream the bytes. Raises `NotFound` on the first read."""

    async def fetch(self, key: str, folder: Path) -> Path:
        """Give a readable local path: the blob's own where it is local, else a copy in `folder`."""

    def folders(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        """Name what lies right under `prefix`, one level deep, and when each was last changed."""

    async def delete_prefix(self, prefix: str) -> Removed:
        """Delete every blob under `prefix`; answers what there was. Twice is as good as once."""

    async def drop_unfinished(self, before: datetime) -> int:
        """Drop what writers that died left of blobs, if it is older than that; answers how many there were."""
