"""Documents that are fetched: a page by its URL, and the same page again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import bots, documents, web
from adapters.postgres.engine import transaction
from adapters.postgres.uploads import Upload
from adapters.postgres.web import Known
from adapters.temporal.runs import cancel_run
from adapters.web.intake import PageIntake
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Writer
from api.errors import responses
from api.idempotency import Once, OnceDep, Replay
from api.schemas.documents import Document, NewUrl
from api.starting import start_soon, started
from api.uploads import clean_name
from domain.blobs import ingestion_prefix
from domain.documents import DocumentStatus, Operation, require
from domain.errors import DomainError, StateConflict
from domain.filters import Metadata
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.runs import ingestion_run
from domain.web import Validators, normalise, title

router = APIRouter(tags=["Documents"])

_SAME: dict[int | str, dict[str, Any]] = {
    200: {"model": Document, "description": "The page's bytes are there already."}
}
_ERRORS = responses(400, 401, 403, 404, 409, 413, 415)

# An owner's slow pages wait for each other, and leave connections for the pages of others.
_AT_ONCE = 8
_slots: WeakValueDictionary[UserId, asyncio.Semaphore] = WeakValueDictionary()


@router.post("/bots/{bot_id}/documents/url", status_code=202, summary="Add a page", responses={**_SAME, **_ERRORS})
async def add_url(
    bot_id: UUID, body: NewUrl, user: Writer, adapters: AdaptersDep, once: OnceDep, response: Response
) -> Document:
    """Fetch a page and add it. A URL is one document of a bot: what it holds later becomes a new version."""
    bot, url = BotId(bot_id), normalise(body.url)
    name = title(url) if body.name is None else clean_name(body.name)
    async with transaction(adapters.engine) as connection:
        await bots.read(connection, user.id, bot)
        await once.claim(connection, user.id)
        known = await web.find(connection, bot, url)
    return await _Fetch(adapters, once, user.id, bot, url, name, known, body.metadata).answer(response)


@router.post("/documents/{document_id}/refresh", status_code=202, summary="Fetch again", responses={**_SAME, **_ERRORS})
async def refresh_document(
    document_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep, response: Response
) -> Document:
    """Ask the page's server whether it has changed: 200 where not, else a new version; the old one answers meanwhile."""
    document = DocumentId(document_id)
    async with transaction(adapters.engine) as connection:
        row = await documents.read(connection, user.id, document)
        require(Operation.REPLACE, DocumentStatus(row.status))
        if row.source_url is None:
            raise StateConflict("The document was not fetched from a URL. Upload a new version instead.")
        await once.claim(connection, user.id)
    known = Known(document, Validators(row.etag, row.last_modified))
    fetch = _Fetch(adapters, once, user.id, BotId(row.bot_id), row.source_url, row.name, known)
    return await fetch.answer(response)


class _Fetch:
    """One page's way in. The key is claimed before and kept after: what lies between may be done twice."""

    def __init__(
        self,
        adapters: Adapters,
        once: Once,
        owner: UserId,
        bot: BotId,
        url: str,
        name: str,
        known: Known | None,
        metadata: Metadata | None = None,
    ) -> None:
        self._adapters = adapters
        self._once = once
        self._owner = owner
        self._bot = bot
        self._url = url
        self._name = name
        self._known = known
        self._metadata = metadata
        self._document = DocumentId(new_id()) if known is None else known.document
        self._ingestion = IngestionId(new_id())

    async def answer(self, response: Response) -> Document:
        """Fetch, store, commit, start: nothing is accepted before its bytes are stored."""
        async with self._cleared_on_failure():
            validators = Validators() if self._known is None else self._known.validators
            slots = _slots.setdefault(self._owner, asyncio.Semaphore(_AT_ONCE))
            async with slots, self._adapters.fetcher.open(self._url, known=validators) as page:
                if page.not_modified:
                    return await self._unchanged(response)
                upload = await PageIntake(page).store(
                    self._adapters.blobs,
                    self._document,
                    self._ingestion,
                    url=self._url,
                    name=self._name,
                    now=now(),
                )
            return await self._take(replace(upload, metadata=self._metadata), response)

    async def _unchanged(self, response: Response) -> Document:
        async with transaction(self._adapters.engine) as connection:
            await self._once.claim(connection, self._owner)  # answers what a twin was answered meanwhile
            await web.seen(connection, self._document, now=now())
            if self._metadata is not None:
                await documents.describe(connection, self._owner, self._document, self._metadata)
            shown = Document.of(await documents.read(connection, self._owner, self._document))
            return await self._keep(connection, 200, shown, response)

    async def _take(self, upload: Upload, response: Response) -> Document:
        adapters = self._adapters
        async with transaction(adapters.engine) as connection:
            await self._once.claim(connection, self._owner)
            accepted = await web.accept(
                connection, self._owner, self._bot, self._document, upload, known=self._known is not None
            )
            status = 200 if accepted.new is None else 202
            shown = await self._keep(connection, status, Document.of(accepted.document), response)
        if accepted.new is None:
            await adapters.blobs.delete_prefix(ingestion_prefix(self._document, self._ingestion))
            return shown
        if accepted.superseded_run is not None:
            run = ingestion_run(self._document)
            await started(cancel_run(adapters.temporal, run, run_id=accepted.superseded_run))
        await start_soon(adapters, accepted.new)
        return shown

    async def _keep(self, connection: AsyncConnection, status: int, shown: Document, response: Response) -> Document:
        headers = {"Location": f"/api/v1/documents/{shown.id}"}
        response.status_code = status
        response.headers.update(headers)
        return await self._once.keep(connection, self._owner, status, shown, headers)

    @asynccontextmanager
    async def _cleared_on_failure(self) -> AsyncIterator[None]:
        """Free the key and drop the bytes of a request that failed; any other failure may come after the commit."""
        try:
            yield
        except (DomainError, Replay) as error:
            await self._adapters.blobs.delete_prefix(ingestion_prefix(self._document, self._ingestion))
            if isinstance(error, DomainError):
                async with transaction(self._adapters.engine) as connection:
                    await self._once.release(connection, self._owner)
            raise
