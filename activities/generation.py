"""Streaming an answer: provider to marker filter to durable pieces."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.answer_stream import AnswerStream
from activities.delta_writer import DeltaWriter
from activities.fallback import Fallback
from activities.heartbeat import heartbeats
from activities.titles import Titles
from activities.writer import this_writer
from adapters.postgres import history, summaries, turn_passages, turns
from adapters.postgres.deltas import Deltas
from adapters.postgres.engine import reading, transaction
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Claim, Draft
from domain import steps
from domain.errors import ProviderMalformed
from domain.messages import Usage
from domain.ports import AnswerRequest, Finished, Generator
from domain.providers import in_order
from domain.steps import Generated, TurnRef

# A restart of the database is waited for: the other way is to pay for the answer again.
_PATIENCE = timedelta(minutes=2)


class Generation:
    """Writes the answer of the attempt that holds the turn; an attempt that was given up cannot."""

    def __init__(
        self,
        engine: AsyncEngine,
        deltas: Deltas,
        generator: Generator,
        now: Callable[[], datetime],
        *,
        silence: timedelta,
        titles: Titles,
    ) -> None:
        """`silence` is how long the provider may say nothing before it is given up."""
        self._engine = engine
        self._deltas = deltas
        self._generator = generator
        self._stream = AnswerStream(generator, silence=silence)
        self._fallback = Fallback(steps.GENERATE.policy, now)
        self._titles = titles

    @activity.defn(name=steps.GENERATE.name)
    async def generate(self, ref: TurnRef) -> Generated:
        """Stream the answer into the turn's events, and its whole text into the turn's row."""
        async with heartbeats():
            models, request = await patiently(lambda: self._request(ref), within=_PATIENCE)
            return await self._fallback.first(
                models, lambda model: self._answer(ref, replace(request, model=model)), attempt=activity.info().attempt
            )

    @activity.defn(name=steps.GENERATE_TITLED.name)
    async def generate_titled(self, ref: TurnRef) -> Generated:
        """Stream the answer while a model names the conversation, in one step: a second would cost six events."""
        async with self._titles.beside(ref):
            return await self.generate(ref)

    async def _answer(self, ref: TurnRef, request: AnswerRequest) -> Generated:
        claim = await patiently(lambda: self._claim(ref, request.model or self._generator.model), within=_PATIENCE)
        if isinstance(claim, Draft):
            return Generated(input_tokens=claim.input_tokens, output_tokens=claim.output_tokens)
        text, end = await self._write(ref, claim, request)
        await patiently(lambda: self._store(ref, claim, text, end), within=_PATIENCE)
        return Generated(input_tokens=end.input_tokens, output_tokens=end.output_tokens)

    async def _claim(self, ref: TurnRef, model: str) -> Claim | Draft:
        writer = this_writer()
        async with reading(self._engine) as connection:  # one statement, which commits by itself
            first = await turns.claim_first(connection, ref, writer, model=model)
        if first is not None:
            return first
        async with transaction(self._engine) as connection:
            return await turns.claim(connection, ref, writer, model=model)

    async def _request(self, ref: TurnRef) -> tuple[list[str], AnswerRequest]:
        """Give the models that may answer, in their order, and what the first of them is asked."""
        async with reading(self._engine) as connection:
            question = await turns.question(connection, ref)
            passages = await turn_passages.read(connection, ref.turn_id)
            earlier = await history.read(connection, ref, question)
            summary = await summaries.read(connection, question.summary_until)
        fallbacks = question.configuration.fallback_models
        models = in_order(question.model, fallbacks, default=self._generator.model)
        return models, AnswerRequest(
            question=question.content,
            passages=passages,
            history=earlier,
            summary=summary,
            instructions=question.configuration.system_prompt,
            model=models[0],
            temperature=question.temperature,
            max_tokens=question.max_tokens,
        )

    async def _write(self, ref: TurnRef, claim: Claim, request: AnswerRequest) -> tuple[str, Finished]:
        writer = DeltaWriter(self._deltas, ref.turn_id, claim, patience=_PATIENCE)
        async with writer:
            end = (await self._stream.write(request, writer)).end
        if not writer.text.strip():
            raise ProviderMalformed("The model gave an empty answer. Ask again, or choose another model.")
        return writer.text, end

    async def _store(self, ref: TurnRef, claim: Claim, text: str, end: Finished) -> None:
        usage = Usage(input_tokens=end.input_tokens, output_tokens=end.output_tokens)
        async with reading(self._engine) as connection:  # one statement, which commits by itself
            await turns.store_draft(connection, ref, claim, text, model=end.model, usage=usage, cut_off=end.cut_off)
