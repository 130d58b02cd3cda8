"""The tool `search_documents`: the bot's own search, its passages numbered for citation."""

from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.question import read_question
from activities.retrieval import announced
from activities.tool_calls import ToolCalls
from activities.writer import this_writer
from adapters.postgres import tool_calls, turn_events, turn_passages
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from adapters.postgres.search import search
from adapters.postgres.tool_calls import Outcome
from adapters.postgres.turns import Question
from domain import steps
from domain.conversation import EventType
from domain.offers import Arguments, SearchArguments
from domain.passages import diverse, pick_passages
from domain.ports import Embedder, Vectors
from domain.prompts import PASSAGE_BUDGET
from domain.retrieval import Hit, SearchMode, number_on, relevant
from domain.steps import CallEnded, CallRef
from domain.tools import CallStatus, Tool

_CANDIDATES = 50
_PATIENCE = timedelta(seconds=30)


class DocumentSearch:
    """Searches as `search_bot` and `retrieve` do; a passage that was found before keeps its number."""

    def __init__(self, engine: AsyncEngine, embedder: Embedder) -> None:
        self._engine = engine
        self._embedder = embedder
        self._calls = ToolCalls(engine)

    @activity.defn(name=steps.SEARCH_DOCUMENTS.name)
    async def search_documents(self, at: CallRef) -> CallEnded:
        """Search for what the model asks, and add what is new to the turn's passages."""
        return await self._calls.run(at, partial(self._perform, at))

    async def _perform(self, at: CallRef, _tool: Tool, arguments: Arguments) -> Outcome:
        assert isinstance(arguments, SearchArguments)  # noqa: S101  (of this tool)
        question, query = await read_question(self._engine, at.ref, within=_PATIENCE), arguments.query
        by_words = question.configuration.retrieval.mode is SearchMode.KEYWORD
        # Once, however often the database is asked: it is paid.
        vector = None if by_words else await self._embedder.embed_query(query)
        return await patiently(partial(self._find, at, question, query, vector), within=_PATIENCE)

    async def _find(self, at: CallRef, question: Question, query: str, vector: Vectors | None) -> Outcome:
        ref, wanted = at.ref, question.configuration.retrieval
        async with transaction(self._engine) as connection:
            hits: list[Hit] = await search(
                connection, ref.owner_id, ref.bot_id, query, vector,
                embedding_model=self._embedder.model, mode=wanted.mode, limit=_CANDIDATES,
                fluency=1.0 if vector is None else self._embedder.fluency(query), within=question.within,
            )  # fmt: skip
            hits = diverse(relevant(hits, min_score=wanted.min_score), diversity=wanted.diversity, top_k=wanted.top_k)
            picked = pick_passages(hits, top_k=wanted.top_k, budget=PASSAGE_BUDGET)
            await tool_calls.hold_call(connection, at, this_writer())
            known = await turn_passages.read(connection, ref.turn_id)
            numbered, new = number_on(known, picked)
            if new:
                await turn_passages.add(connection, ref.turn_id, new)
                retrieved = {"citations": [announced(passage) for passage in new]}
                await turn_events.append(connection, ref.turn_id, EventType.RETRIEVED, retrieved)
        told = f"{len(numbered)} passages were found." if numbered else "No passages were found. Try other words."
        return Outcome(CallStatus.COMPLETE, told, markers=[passage.marker for passage in numbered])
