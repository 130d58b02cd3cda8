"""The product under evaluation: a whole stack with the local models, filled by imports and asked by its search."""

import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.models.providers import Models, open_models
from adapters.postgres.engine import open_engine
from adapters.postgres.search import search
from adapters.settings import Settings
from bench.rig import database_url, import_ended, sign_in
from domain.filters import EVERYTHING, DocumentFilter
from domain.ids import BotId, UserId
from domain.retrieval import Hit, SearchMode
from evaluation.sets import Document, EvaluationSet, Query
from tests.stack import stack

_DEPTH = 50
_CHUNKS_A_DOCUMENT = 8  # looked at for each document that is wanted: several chunks of one document count once
_LOST = ("needs_attention", "failed", "cancelled")
_PACK = 500  # documents of an import
_NAME = 100  # characters that a bot's name may have
_NAMED = 5  # of the rows that did not become ready


@dataclass(frozen=True, slots=True)
class Filled:
    """A bot that has a set's documents; `rows` names the corpus rows that a document holds."""

    bot: BotId
    rows: dict[UUID, list[str]]

    def ranked(self, query: Query, documents: Iterable[UUID]) -> list[str]:
        """Name the rows of these documents in their order, each once.

        A row with the question's own id is the question itself, as a rule, and left out where it was not judged, as
        BEIR does (`ignore_identical_ids`).
        """
        rows = dict.fromkeys(row for document in documents for row in self.rows.get(document, ()))
        return [row for row in rows if row != query.id or row in query.grades]


@dataclass(frozen=True, slots=True)
class Product:
    """A running stack, and what the search of its API is made of."""

    http: httpx2.AsyncClient
    engine: AsyncEngine
    models: Models
    owner: UserId

    async def fill(self, given: EvaluationSet) -> Filled:
        """Ingest the documents into a bot of their own, by imports, and wait until all are ready.

        Their metadata says in which `half` of the set they lie, 0 or 1.
        """
        answer = await self.http.post("/api/v1/bots", json={"name": given.name[:_NAME]})
        bot = BotId(UUID(answer.raise_for_status().json()["id"]))
        rows: dict[UUID, list[str]] = {}
        for half, documents in enumerate(given.halves):
            for start in range(0, len(documents), _PACK):
                for document, row in await self._import(bot, documents[start : start + _PACK], {"half": half}):
                    rows.setdefault(document, []).append(row)
        return Filled(bot, rows)

    async def _import(
        self, bot: BotId, documents: tuple[Document, ...], metadata: Mapping[str, int]
    ) -> list[tuple[UUID, str]]:
        files = {"archive": ("set.zip", _archive(documents), "application/zip")}
        form = {"metadata": json.dumps(metadata)}
        answer = await self.http.post(f"/api/v1/bots/{bot}/imports", files=files, data=form, timeout=120)
        import_id = UUID(answer.raise_for_status().json()["id"])
        shown = await import_ended(self.http, import_id, pause=0.5)
        if shown["status"] != "complete":
            raise RuntimeError(f"The import ended as {shown['status']}: {shown['last_error']}")
        items = await self._all(f"/api/v1/imports/{import_id}/items")
        for item in items:
            item["row"] = documents[item["position"]].id
        if lost := await self._lost(bot, import_id, items):
            first = ", ".join(lost[:_NAMED])
            print(f"Not ready, and so never found: {len(lost)} of {len(documents)}, first {first}", flush=True)
        return [(UUID(item["document_id"]), item["row"]) for item in items if item["document_id"]]

    async def _lost(self, bot: BotId, import_id: UUID, items: Sequence[dict[str, Any]]) -> list[str]:
        """Name the rows that were refused and those whose document did not become ready, each with its error."""
        lost = [(item["row"], item["last_error"]) for item in items if item["outcome"] == "refused"]
        row_of = {item["document_id"]: item["row"] for item in items}
        for status in _LOST:
            documents = await self._all(f"/api/v1/bots/{bot}/documents", import_id=str(import_id), status=status)
            lost += [(row_of[document["id"]], document["last_error"] or {"code": status}) for document in documents]
        return [f"{row} ({error['code']})" for row, error in lost]

    async def _all(self, path: str, **wanted: str) -> list[dict[str, Any]]:
        """List what this path lists, page by page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            answer = await self.http.get(path, params=wanted | {"limit": "100"} | ({"after": after} if after else {}))
            page = answer.raise_for_status().json()
            found += page["data"]
            after = page["next"]
            if not page["has_more"]:
                return found

    async def rank(self, filled: Filled, query: Query, mode: SearchMode) -> list[str]:
        """Rank corpus rows by the best chunk of each; 50 at most."""
        hits, _ = await self.search(filled, query.text, mode, limit=_DEPTH * _CHUNKS_A_DOCUMENT)
        return filled.ranked(query, (hit.document_id for hit in hits))[:_DEPTH]

    async def search(
        self, filled: Filled, question: str, mode: SearchMode, *, limit: int, within: DocumentFilter = EVERYTHING
    ) -> tuple[list[Hit], float]:
        """Search as a turn does; answers the hits, and how much of the question the embedding model can read."""
        embedder = self.models.embedder
        vector = None if mode is SearchMode.KEYWORD else await embedder.embed_query(question)
        fluency = 1.0 if vector is None else embedder.fluency(question)
        async with self.engine.connect() as connection:
            hits = await search(
                connection, self.owner, filled.bot, question, vector, embedding_model=embedder.model, mode=mode,
                limit=limit, fluency=fluency, within=within,
            )  # fmt: skip
        return hits, fluency


@asynccontextmanager
async def product() -> AsyncIterator[Product]:
    """Start everything, sign in, and stop it all at the end."""
    settings = Settings(provider="local", embedding_provider="local")
    # The stack takes nothing from this environment, which may choose another width, or embed with the model on trial.
    alike = {"EMBEDDING_PROVIDER": "local", "EMBEDDING_WIDTH": str(settings.embedding_width)}
    async with AsyncExitStack() as exits:
        running = await exits.enter_async_context(stack(PROVIDER="local", **alike, LOG_LEVEL="warning"))
        await running.start()
        await running.ready()
        url = database_url(running.folder, int(running.settings["CHATSPHERE_POSTGRES_PORT"]))
        engine = open_engine(url, application="evaluation")
        exits.push_async_callback(engine.dispose)
        models = await exits.enter_async_context(open_models(settings))
        http = await exits.enter_async_context(running.client())
        owner, _ = await sign_in(http, "evaluation@example.com")
        yield Product(http, engine, models, UserId(owner))


def _archive(documents: tuple[Document, ...]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, document in enumerate(documents):
            title = "".join(char if char.isalnum() else " " for char in document.title)[:100].strip()
            archive.writestr(f"{number:05}/{title or 'document'}.txt", document.content.encode())
    return packed.getvalue()
