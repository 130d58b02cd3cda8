"""Streaming an answer: provider to marker filter to durable pieces."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.delta_writer import DeltaWriter
from activities.heartbeat import heartbeats
from adapters.postgres import messages, turns
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Claim, Draft
from domain import steps
from domain.errors import ProviderError, ProviderMalformed
from domain.links import LinkFilter
from domain.markers import MarkerFilter
from domain.messages import Usage
from domain.ports import AnswerRequest, Finished, Generator, TextDelta
from domain.steps import Generated, TurnRef

# A restart of the database is waited for: the other way is to pay for the answer again.
_PATIENCE = timedelta(minutes=2)


class Generation:
    """Writes the answer of the attempt that holds the turn; an attempt that was given up cannot."""

    def __init__(self, engine: AsyncEngine, generator: Generator, *, silence: timedelta) -> None:
        """`silence` is how long the provider may say nothing before it is given up."""
        self._engine = engine
        self._generator = generator
        self._silence = silence

    @activity.defn(name=steps.GENERATE.name)
    async def generate(self, ref: TurnRef) -> Generated:
        """Stream the answer into the turn's events, and its whole text into the turn's row."""
        async with heartbeats():
            claim = await patiently(lambda: self._claim(ref), within=_PATIENCE)
            if isinstance(claim, Draft):
                return Generated(input_tokens=claim.input_tokens, output_tokens=claim.output_tokens)
            request = await patiently(lambda: self._request(ref), within=_PATIENCE)
            text, end = await self._write(ref, claim, request)
            await patiently(lambda: self._store(ref, claim, text, end), within=_PATIENCE)
            return Generated(input_tokens=end.input_tokens, output_tokens=end.output_tokens)

    async def _claim(self, ref: TurnRef) -> Claim | Draft:
        info = activity.info()
        async with transaction(self._engine) as connection:
            return await turns.claim(
                connection,
                ref,
                run_id=info.workflow_run_id or "",
                run_attempt=info.attempt,
                model=self._generator.model,
            )

    async def _request(self, ref: TurnRef) -> AnswerRequest:
        async with self._engine.connect() as connection:
            question = await turns.question(connection, ref)
            passages = await turns.passages(connection, ref.turn_id)
            earlier = (
                []
                if question.history_from is None
                else await messages.earlier(
                    connection, ref.conversation_id, before=question.position, since=question.history_from
                )
            )
        return AnswerRequest(
            question=question.content,
            passages=passages,
            history=[message for _, message in earlier],
            instructions=question.configuration.system_prompt,
            model=question.model,
            temperature=question.temperature,
        )

    async def _write(self, ref: TurnRef, claim: Claim, request: AnswerRequest) -> tuple[str, Finished]:
        writer = DeltaWriter(self._engine, ref.turn_id, claim, patience=_PATIENCE)
        async with writer:
            end = await self._stream(request, writer)
        if not writer.text.strip():
            raise ProviderMalformed("The model gave an empty answer. Ask again, or choose another model.")
        return writer.text, end

    async def _stream(self, request: AnswerRequest, writer: DeltaWriter) -> Finished:
        markers = MarkerFilter({passage.marker for passage in request.passages})
        links = LinkFilter(passage.content for passage in request.passages)
        async with _closing(self._generator.stream(request)) as stream:
            while True:
                event = await self._next(stream)
                if isinstance(event, Finished):
                    writer.write(links.feed(markers.finish()) + links.finish())
                    return event
                writer.write(links.feed(markers.feed(_storable(event.text))))

    async def _next(self, stream: AsyncIterator[TextDelta | Finished]) -> TextDelta | Finished:
        try:
            async with asyncio.timeout(self._silence.total_seconds()):
                return await anext(stream)
        except TimeoutError:
            raise ProviderError("The model provider stopped answering. Ask again.") from None
        except StopAsyncIteration:
            raise ProviderMalformed("The model provider's answer broke off. Ask again.") from None

    async def _store(self, ref: TurnRef, claim: Claim, text: str, end: Finished) -> None:
        usage = Usage(input_tokens=end.input_tokens, output_tokens=end.output_tokens)
        async with transaction(self._engine) as connection:
            await turns.store_draft(connection, ref, claim, text, model=end.model, usage=usage)


@asynccontextmanager
async def _closing(stream: AsyncIterator[TextDelta | Finished]) -> AsyncIterator[AsyncIterator[TextDelta | Finished]]:
    """Hang up on the provider on every way out."""
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _storable(text: str) -> str:
    """Leave out what Postgres does not store: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
