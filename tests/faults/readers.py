"""A client of a streamed turn: reads, loses its connection, and goes on with `Last-Event-ID` at another process."""

import asyncio
from collections.abc import Callable

import httpx2

from tests.person import FINAL, Person, Sent, sent_events

_PAUSE = 0.1


class Reader:
    """What one client has seen of one turn."""

    def __init__(self, person: Person, conversation: str, question: str) -> None:
        self._person = person
        self._conversation = conversation
        self.question = question
        self._news = asyncio.Condition()
        self.events: list[Sent] = []
        self.turn = ""

    @property
    def path(self) -> str:
        """The messages of its conversation."""
        return f"/conversations/{self._conversation}/messages"

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1].event in FINAL

    async def ask(self) -> None:
        """Send the question, and read what comes until the end, or until the process that sends it dies."""
        message = {"content": self.question, "stream": True}
        try:
            await self._read(self._person.client, self._person.client.build_request("POST", self.path, json=message))
        except httpx2.TransportError:
            return

    async def go_on(self, client: httpx2.AsyncClient) -> None:
        """Read the rest from where the connection was lost, as a browser does: again, until it is the end."""
        client.headers["Authorization"] = self._person.client.headers["Authorization"]
        while not self.ended:
            last = {"Last-Event-ID": str(self.events[-1].id)} if self.events else {}
            try:
                await self._read(client, client.build_request("GET", f"/turns/{self.turn}/events", headers=last))
            except httpx2.TransportError:
                await asyncio.sleep(_PAUSE)

    async def until(self, reached: Callable[["Reader"], bool]) -> None:
        async with self._news:
            await self._news.wait_for(lambda: reached(self))

    def taken_over(self) -> "Reader":
        """The same client at its next connection: what it has seen is the same, what it will see is not."""
        other = Reader(self._person, self._conversation, self.question)
        other.events, other.turn = list(self.events), self.turn
        return other

    async def _read(self, client: httpx2.AsyncClient, request: httpx2.Request) -> None:
        response = await client.send(request, stream=True)
        try:
            if not response.is_success:
                assert response.status_code >= 500, (response.status_code, await response.aread())
                await asyncio.sleep(_PAUSE)
                return
            self.turn = self.turn or response.headers["Location"].rsplit("/", 1)[-1]
            async with self._news:
                self._news.notify_all()
            async for sent in sent_events(response.aiter_lines()):
                async with self._news:
                    self.events.append(sent)
                    self._news.notify_all()
        finally:
            await response.aclose()
