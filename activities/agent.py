"""An agent's model step: what was said and given so far goes to the model, what it asks for is planned."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.answer_stream import AnswerStream, Streamed
from activities.catalogues import Catalogues
from activities.delta_writer import DeltaWriter
from activities.fallback import Fallback
from activities.heartbeat import heartbeats
from activities.writer import this_writer
from adapters.postgres import agent, approvals, history, summaries, tool_calls, turn_ends, turn_passages, turns
from adapters.postgres.deltas import Deltas
from adapters.postgres.engine import reading, transaction
from adapters.postgres.patience import patiently
from adapters.postgres.tool_calls import NewCall, Outcome
from adapters.postgres.turns import Claim
from domain import offers, steps, tools
from domain.errors import ProviderMalformed
from domain.ids import call_id
from domain.messages import Usage
from domain.offers import Offer, Refusal
from domain.ports import AnswerRequest, Generator, ToolCall
from domain.providers import in_order
from domain.steps import CallEnded, Decisions, ModelStepped, ModelStepRef, SettleCall
from domain.storing import storable, storable_json
from domain.tools import ARGUMENT_CHARACTERS, CALLS_A_STEP, CallStatus

# As for an answer: a restart of the database costs less than asking the model again.
_PATIENCE = timedelta(minutes=2)


class Agent:
    """Asks the model once a step; a step that is stored is not asked for again."""

    def __init__(
        self,
        engine: AsyncEngine,
        deltas: Deltas,
        generator: Generator,
        catalogues: Catalogues,
        now: Callable[[], datetime],
        *,
        silence: timedelta,
    ) -> None:
        """`silence` is how long the provider may say nothing before it is given up."""
        self._engine = engine
        self._deltas = deltas
        self._generator = generator
        self._catalogues = catalogues
        self._stream = AnswerStream(generator, silence=silence)
        self._fallback = Fallback(steps.MODEL_STEP.policy, now)
        self._now = now

    @activity.defn(name=steps.MODEL_STEP.name)
    async def model_step(self, at: ModelStepRef) -> ModelStepped:
        """Stream what the model says; store its calls, or its answer as the turn's draft."""
        async with heartbeats():
            models, offered, request = await patiently(lambda: self._request(at), within=_PATIENCE)
            return await self._fallback.first(
                models,
                lambda model: self._ask(at, offered, replace(request, model=model)),
                attempt=activity.info().attempt,
            )

    async def _ask(self, at: ModelStepRef, offered: Sequence[Offer], request: AnswerRequest) -> ModelStepped:
        claim = await patiently(lambda: self._claim(at, request.model or self._generator.model), within=_PATIENCE)
        if isinstance(claim, ModelStepped):
            return claim
        writer = DeltaWriter(self._deltas, at.ref.turn_id, claim, patience=_PATIENCE)
        async with writer:
            streamed = await self._stream.write(request, writer)
        calls = [] if at.last else _planned(offered, streamed.calls)
        if not calls and not writer.text.strip():
            raise ProviderMalformed("The model gave an empty answer. Ask again, or choose another model.")
        return await patiently(lambda: self._store(at, claim, writer.text, calls, streamed), within=_PATIENCE)

    @activity.defn(name=steps.SETTLE_CALL.name)
    async def settle_call(self, settle: SettleCall) -> CallEnded:
        """End a call whose own step failed for good, or came too late; a bot that it asked need not begin."""
        at, outcome = settle.call, Outcome(CallStatus.FAILED, f"The tool failed: {settle.message}", code=settle.code)
        async with transaction(self._engine) as connection:
            ended = await tool_calls.settle_call(connection, at, outcome)
            await turn_ends.take_back(connection, call_id(at.ref.turn_id, at.step, at.number), now=self._now())
            return ended

    @activity.defn(name=steps.READ_DECISIONS.name)
    async def read_decisions(self, at: ModelStepRef) -> Decisions:
        """Take up what people decided about a step's calls."""
        async with transaction(self._engine) as connection:
            return await approvals.apply(connection, at)

    async def _claim(self, at: ModelStepRef, model: str) -> Claim | ModelStepped:
        async with transaction(self._engine) as connection:
            return await agent.claim_step(connection, at, this_writer(), model=model)

    async def _request(self, at: ModelStepRef) -> tuple[list[str], list[Offer], AnswerRequest]:
        """Give the models that may be asked, in their order, what they are offered, and what the first of them is asked."""
        async with reading(self._engine) as connection:
            question = await turns.question(connection, at.ref)
            passages = await turn_passages.read(connection, at.ref.turn_id)
            made = await agent.steps(connection, at.ref.turn_id)
            earlier = await history.read(connection, at.ref, question)
            summary = await summaries.read(connection, question.summary_until)
        fallbacks = question.configuration.fallback_models
        every = in_order(question.model, fallbacks, default=self._generator.model)
        models = [model for model in every if self._generator.completes_with(model)]
        if not models:
            raise tools.unsupported()
        configured = question.configuration.tools
        offered = [] if at.last else offers.of(configured, await self._catalogues.of(at.ref.owner_id, configured))
        request = AnswerRequest(
            question=question.content,
            passages=passages,
            history=earlier,
            summary=summary,
            instructions=question.configuration.system_prompt,
            model=models[0],
            temperature=question.temperature,
            max_tokens=question.max_tokens,
            tools=[offer.spec for offer in offered],
            steps=made,
        )
        return models, offered, request

    async def _store(
        self, at: ModelStepRef, claim: Claim, text: str, calls: Sequence[NewCall], streamed: Streamed
    ) -> ModelStepped:
        end = streamed.end
        usage = Usage(input_tokens=end.input_tokens, output_tokens=end.output_tokens)
        async with transaction(self._engine) as connection:
            return await agent.store_step(
                connection, at, claim, text, calls, model=end.model, usage=usage, cut_off=end.cut_off
            )


def _planned(offered: Sequence[Offer], calls: Sequence[ToolCall]) -> list[NewCall]:
    return [_checked(offered, call, late=number >= CALLS_A_STEP) for number, call in enumerate(calls[:50])]


def _checked(offered: Sequence[Offer], call: ToolCall, *, late: bool) -> NewCall:
    """Plan a call, or refuse it in words that help the model."""
    kept = replace(call, id=storable(call.id), name=storable(call.name)[:100], arguments={})
    offer = offers.find(offered, kept.name)
    kind = offer.tool.type if offer else None
    try:
        arguments = {storable(key): storable_json(value) for key, value in call.arguments.items()}
    except ValueError as error:
        return NewCall(kept, kind, f"The arguments hold {error}. Call it again.", code="tool_arguments_invalid")
    if len(json.dumps(arguments)) > ARGUMENT_CHARACTERS:
        too_long = f"The arguments are longer than {ARGUMENT_CHARACTERS} characters. Call it again with less."
        return NewCall(kept, kind, too_long, code="tool_arguments_invalid")
    kept = replace(kept, arguments=arguments)
    if late:
        return NewCall(kept, kind, f"Only {CALLS_A_STEP} calls a step are run. Call it again.", code="tool_calls_limit")
    if offer is None:
        return NewCall(kept, None, offers.unknown_tool(offered, kept.name).message, code="tool_unknown")
    read = offers.read_arguments(offer, arguments)
    if isinstance(read, Refusal):
        return NewCall(kept, kind, read.message, code="tool_arguments_invalid")
    return NewCall(kept, kind, needs_approval=offer.tool.needs_approval)
