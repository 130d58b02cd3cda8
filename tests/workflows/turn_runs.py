"""Running `AnswerTurn` against steps that are faked by name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.heartbeat import heartbeats
from activities.interceptor import ErrorInterceptor
from adapters.ids import new_id
from adapters.temporal.client import data_converter
from domain import runs, steps
from domain.ids import BotId, ConversationId, MessageId, TurnId, UserId
from domain.steps import (
    Done,
    Generated,
    LoadedHistory,
    Persisted,
    PersistTurn,
    Queue,
    Reranked,
    RerankPassages,
    Retrieved,
    Summarized,
    TurnRef,
    Understood,
)
from workflows.sandbox import workflow_runner
from workflows.turn import AnswerTurn

MESSAGE = MessageId(new_id())


def a_turn() -> TurnRef:
    return TurnRef(
        owner_id=UserId(new_id()),
        bot_id=BotId(new_id()),
        conversation_id=ConversationId(new_id()),
        turn_id=TurnId(new_id()),
    )


@dataclass
class FakeSteps:
    """Each step answers at once, or does what a test puts in its place; `calls` names them in order."""

    load: Callable[[], Awaitable[None]] | None = None
    sum_up: Callable[[], Awaitable[None]] | None = None
    name: Callable[[], Awaitable[None]] | None = None
    understand: Callable[[], Awaitable[None]] | None = None
    find: Callable[[], Awaitable[None]] | None = None
    order: Callable[[], Awaitable[None]] | None = None
    write: Callable[[], Awaitable[None]] | None = None
    store: Callable[[], Awaitable[None]] | None = None
    found: Retrieved = field(default_factory=lambda: Retrieved(passages=3))
    loaded: LoadedHistory = field(default_factory=lambda: LoadedHistory(messages=2, tokens=20))
    calls: list[str] = field(default_factory=list)
    ends: list[PersistTurn] = field(default_factory=list)

    async def _do(self, name: str, what: Callable[[], Awaitable[None]] | None) -> None:
        self.calls.append(name)
        if what is not None:
            await what()

    @activity.defn(name=steps.LOAD_HISTORY.name)
    async def load_history(self, _: TurnRef) -> LoadedHistory:
        await self._do("load_history", self.load)
        return self.loaded

    @activity.defn(name=steps.SUMMARIZE_HISTORY.name)
    async def summarize_history(self, _: TurnRef) -> Summarized:
        await self._do("summarize_history", self.sum_up)
        return Summarized(messages=8)

    @activity.defn(name=steps.TITLE.name)
    async def title(self, _: TurnRef) -> Done:
        await self._do("title", self.name)
        return Done()

    @activity.defn(name=steps.UNDERSTAND_QUESTION.name)
    async def understand_question(self, _: TurnRef) -> Understood:
        await self._do("understand_question", self.understand)
        return Understood(queries=2)

    @activity.defn(name=steps.RETRIEVE.name)
    async def retrieve(self, _: TurnRef) -> Retrieved:
        await self._do("retrieve", self.find)
        return self.found

    @activity.defn(name=steps.UNDERSTAND_AND_RETRIEVE.name)
    async def understand_and_retrieve(self, _: TurnRef) -> Retrieved:
        await self._do("understand_and_retrieve", self.find)
        return self.found

    @activity.defn(name=steps.RERANK.name)
    async def rerank(self, _: RerankPassages) -> Reranked:
        await self._do("rerank", self.order)
        return Reranked(passages=6)

    @activity.defn(name=steps.GENERATE.name)
    async def generate(self, _: TurnRef) -> Generated:
        await self._do("generate", self.write)
        return Generated(input_tokens=100, output_tokens=10)

    @activity.defn(name=steps.GENERATE_TITLED.name)
    async def generate_titled(self, _: TurnRef) -> Generated:
        await self._do("generate_titled", self.write)
        return Generated(input_tokens=100, output_tokens=10)

    @activity.defn(name=steps.DECLINE.name)
    async def decline(self, _: TurnRef) -> Done:
        await self._do("decline", self.write)
        return Done()

    @activity.defn(name=steps.PERSIST.name)
    async def persist(self, end: PersistTurn) -> Persisted:
        await self._do("persist", self.store)
        self.ends.append(end)
        return Persisted(message_id=MESSAGE, citations=1)

    @property
    def on_chat(self) -> list[Callable[..., Any]]:
        return [self.load_history, self.decline, self.persist]

    @property
    def on_models(self) -> list[Callable[..., Any]]:
        search: list[Callable[..., Any]] = [self.retrieve, self.understand_and_retrieve, self.rerank]
        answer: list[Callable[..., Any]] = [self.title, self.generate, self.generate_titled]
        return [self.summarize_history, self.understand_question, *search, *answer]


@asynccontextmanager
async def workers(client: Client, fakes: FakeSteps, *, cached: bool = False) -> AsyncIterator[None]:
    """Serve both queues. With the cache off every workflow task replays from the beginning.

    Two runs at once need the cache: a worker whose cache is full can hold the task of a second run that has local
    steps until the task's ten seconds are over, and then takes it again, steps included (temporalio/sdk-rust 886).
    """
    config = client.config()
    config["data_converter"] = data_converter()
    own = Client(**config)
    chat = Worker(
        own,
        task_queue=Queue.CHAT,
        workflows=[AnswerTurn],
        activities=fakes.on_chat,
        interceptors=[ErrorInterceptor()],
        workflow_runner=workflow_runner(),
        max_cached_workflows=100 if cached else 0,
    )
    models = Worker(
        own,
        task_queue=Queue.MODELS,
        activities=fakes.on_models,
        interceptors=[ErrorInterceptor()],
        default_heartbeat_throttle_interval=timedelta(seconds=0.1),
        max_heartbeat_throttle_interval=timedelta(seconds=0.1),
    )
    async with chat, models:
        yield


async def start(client: Client, ref: TurnRef) -> WorkflowHandle[AnswerTurn, Persisted]:
    return await client.start_workflow(
        AnswerTurn.run, ref, id=runs.turn_run(ref.conversation_id), task_queue=Queue.CHAT
    )


async def stalled(reached: asyncio.Event) -> None:
    """A step that works until it is cancelled, heartbeating as a real one."""
    reached.set()
    async with heartbeats():
        await asyncio.Event().wait()
