"""What a provider streams, on its way to a reader: filtered, given up where it falls silent, its calls collected."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from activities.delta_writer import DeltaWriter
from domain.boundaries import BoundaryFilter
from domain.characters import VisibleFilter, visible
from domain.errors import ProviderMalformed, ProviderSilent
from domain.links import LinkFilter
from domain.markers import MarkerFilter
from domain.ports import AnswerEvent, AnswerRequest, Finished, Generator, TextDelta, ToolCall
from domain.storing import storable


@dataclass(frozen=True, slots=True)
class Streamed:
    """The end of a stream, and the tools that the model asks for; its text is the writer's."""

    calls: list[ToolCall]
    end: Finished


class AnswerStream:
    """Streams one answer of the provider into a writer."""

    def __init__(self, generator: Generator, *, silence: timedelta) -> None:
        """`silence` is how long the provider may say nothing before it is given up."""
        self._generator = generator
        self._silence = silence

    async def write(self, request: AnswerRequest, writer: DeltaWriter) -> Streamed:
        """Write what may be shown as it comes. A call is nothing to carry out where no tools were offered."""
        request = replace(request, boundary=_boundary())
        shown = _Shown(request)
        calls: list[ToolCall] = []
        async with _closing(self._generator.stream(request)) as stream:
            while True:
                # What has come already is read without a pause: a stream that is behind would keep all others, and
                # their heartbeats, from their turn for as long as it has something.
                await asyncio.sleep(0)
                event = await self._next(stream)
                if isinstance(event, Finished):
                    writer.write(shown.finish())
                    return Streamed(calls if request.tools else [], event)
                if isinstance(event, TextDelta):
                    writer.write(shown.feed(event.text))
                else:
                    calls.append(event)

    async def _next(self, stream: AsyncIterator[AnswerEvent]) -> AnswerEvent:
        try:
            async with asyncio.timeout(self._silence.total_seconds()):
                return await anext(stream)
        except TimeoutError:
            raise ProviderSilent("The model provider stopped answering. Ask again.") from None
        except StopAsyncIteration:
            raise ProviderMalformed("The model provider's answer broke off. Ask again.") from None


class _Shown:
    """Of what the model says, what a reader may see: nothing unseen, no boundary, no marker or link of no source."""

    def __init__(self, request: AnswerRequest) -> None:
        self._characters = VisibleFilter()
        self._boundary = BoundaryFilter(request.boundary)
        self._markers = MarkerFilter({passage.marker for passage in request.passages})
        self._links = LinkFilter(_sources(request))

    def feed(self, text: str) -> str:
        return self._links.feed(self._markers.feed(self._boundary.feed(self._characters.feed(storable(text)))))

    def finish(self) -> str:
        marked = self._markers.feed(self._boundary.finish()) + self._markers.finish()
        return self._links.feed(marked) + self._links.finish()


def _boundary() -> str:
    """Draw a word that nobody can guess. What may be its beginning is held back: it begins as hardly a word ends."""
    return f"q{secrets.token_hex(8)[1:]}"


def _sources(request: AnswerRequest) -> list[str]:
    """Give the texts whose links may be in the answer, as the model read them: passages, and what tools gave."""
    given = [result.content for step in request.steps for result in step.results]
    return [visible(text) for text in (*(passage.content for passage in request.passages), *given)]


@asynccontextmanager
async def _closing(stream: AsyncIterator[AnswerEvent]) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
    """Hang up on the provider on every way out."""
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
