"""A page's way from the network to the blob store: counted, hashed and looked at as it comes."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime

from adapters.postgres.uploads import Upload
from domain.blobs import source_key
from domain.documents import Format, SourceType
from domain.formats import Sample, detect
from domain.ids import DocumentId, IngestionId
from domain.ports import BlobStore, WebPage
from domain.web import filename


class PageIntake:
    """Stores one page under the key of a version. `sample` keeps the first `keep` bytes, to look for links."""

    def __init__(self, page: WebPage, *, keep: int = 0) -> None:
        self._page = page
        self._keep = keep
        self._sha = hashlib.sha256()
        self._size = 0
        self._looked_at = Sample()
        self._found: tuple[Format, str] | None = None
        self.sample = bytearray()

    async def store(
        self, blobs: BlobStore, document: DocumentId, ingestion: IngestionId, *, url: str, name: str, now: datetime
    ) -> Upload:
        """Store the bytes. Raises as `domain.formats.detect` does, and as the page's content does."""
        await blobs.put(source_key(document, ingestion), self._bytes())
        format_, content_type = self._format()
        return Upload(
            ingestion_id=ingestion,
            name=name,
            source_type=SourceType.URL,
            format=format_,
            content_type=content_type,
            size_bytes=self._size,
            sha256=self._sha.hexdigest(),
            source_url=url,
            etag=self._page.validators.etag,
            last_modified=self._page.validators.last_modified,
            fetched_at=now,
        )

    async def _bytes(self) -> AsyncIterator[bytes]:
        async for data in self._page.content:
            self._size += len(data)
            self._sha.update(data)
            self.sample += data[: max(self._keep - len(self.sample), 0)]
            self._looked_at.take(data)
            if self._looked_at.suffices:
                self._format()
            yield data
        self._format()  # what is not read is refused before it is kept

    def _format(self) -> tuple[Format, str]:
        if self._found is None:
            self._found = detect(
                self._looked_at.head, filename(self._page.url), self._page.content_type, self._looked_at.tail
            )
        return self._found
