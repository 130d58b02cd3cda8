"""Running an agent's turn against steps that are faked by name."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity

from domain import steps
from domain.steps import (
    AgentBounds,
    CallEnded,
    CallRef,
    Consultation,
    Decisions,
    LoadedHistory,
    ModelStepped,
    ModelStepRef,
    PlannedCall,
    SettleCall,
    TurnRef,
)
from domain.tools import CallStatus, ToolType
from tests.workflows.turn_runs import FakeSteps

ANSWERED = ModelStepped(answered=True, tokens=10)


def asks(*tools: ToolType, tokens: int = 10, needs_approval: bool = False) -> ModelStepped:
    """A step that asks for these tools."""
    calls = tuple(
        PlannedCall(number=number, tool=tool, needs_approval=needs_approval) for number, tool in enumerate(tools)
    )
    return ModelStepped(answered=False, calls=calls, tokens=tokens)


FAR = AgentBounds(max_steps=50, max_tokens=1_000_000, max_seconds=3600)
NOBODY_YET = Decisions(waiting=1)
SEARCH = asks(ToolType.SEARCH_DOCUMENTS)


@dataclass
class FakeAgent(FakeSteps):
    """Plays one model step after another, the last one again and again."""

    script: list[ModelStepped] = field(default_factory=lambda: [SEARCH, ANSWERED])
    bounds: AgentBounds = FAR
    ask: Callable[[], Awaitable[None]] | None = None
    search: Callable[[], Awaitable[None]] | None = None
    asked: list[ModelStepRef] = field(default_factory=list)
    searched: list[tuple[int, int]] = field(default_factory=list)
    settled: list[SettleCall] = field(default_factory=list)
    decisions: Decisions = NOBODY_YET
    other: TurnRef | None = None  # the turn of a bot that is asked
    looks: int = 0
    ready_at_look: int = 1
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    @activity.defn(name=steps.LOAD_HISTORY.name)
    async def load_history(self, ref: TurnRef) -> LoadedHistory:
        await self._do("load_history", self.load)
        if ref == self.other:  # a bot that is no agent
            return LoadedHistory(messages=0, tokens=0)
        return self.loaded.model_copy(update={"agent": self.bounds})

    @activity.defn(name=steps.MODEL_STEP.name)
    async def model_step(self, at: ModelStepRef) -> ModelStepped:
        await self._do("model_step", self.ask)
        self.asked.append(at)
        return ANSWERED if at.last else self.script[min(at.number, len(self.script) - 1)]

    @activity.defn(name=steps.SEARCH_DOCUMENTS.name)
    async def search_documents(self, at: CallRef) -> CallEnded:
        await self._do("search_documents", self.search)
        self.searched.append((at.step, at.number))
        return CallEnded(status=CallStatus.COMPLETE)

    @activity.defn(name=steps.READ_DECISIONS.name)
    async def read_decisions(self, _: ModelStepRef) -> Decisions:
        await self._do("read_decisions", None)
        self.looked.set()
        return self.decisions

    @activity.defn(name=steps.SETTLE_CALL.name)
    async def settle_call(self, settle: SettleCall) -> CallEnded:
        await self._do("settle_call", None)
        self.settled.append(settle)
        return CallEnded(status=CallStatus.FAILED)

    @activity.defn(name=steps.OPEN_CONSULTATION.name)
    async def open_consultation(self, _: CallRef) -> Consultation:
        await self._do("open_consultation", None)
        return Consultation(turn=self.other)

    @activity.defn(name=steps.CLOSE_CONSULTATION.name)
    async def close_consultation(self, _: CallRef) -> CallEnded:
        await self._do("close_consultation", None)
        self.looks += 1
        self.looked.set()
        return CallEnded(status=CallStatus.RUNNING if self.looks < self.ready_at_look else CallStatus.COMPLETE)

    @property
    def on_chat(self) -> list[Callable[..., Any]]:
        consult = [self.open_consultation, self.close_consultation]
        return [*super().on_chat, self.settle_call, self.read_decisions, *consult]

    @property
    def on_models(self) -> list[Callable[..., Any]]:
        return [*super().on_models, self.model_step, self.search_documents]
