"""A person with an account and a bot, who speaks HTTP and nothing else."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from adapters.ids import new_id

FINAL = {"message.completed", "turn.failed", "turn.cancelled"}
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Sent:
    """A server-sent event."""

    id: int
    event: str
    data: dict[str, Any]


class Person:
    """What a user of the API does. Give another `client` where another API process is meant."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.bot = ""

    @classmethod
    async def arrives(cls, client: httpx2.AsyncClient) -> "Person":
        """Register, log in, make a bot."""
        person = cls(client)
        account = {"email": f"{new_id()}@example.com", "password": "correct horse battery staple"}
        await person.post("/auth/register", json=account)
        form = {"username": account["email"], "password": account["password"]}
        token = await person.post("/auth/token", data=form)
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        person.bot = (await person.post("/bots", json={"name": "Helper"}))["id"]
        return person

    async def post(self, path: str, **request: Any) -> dict[str, Any]:
        response = await self.client.post(path, **request)
        assert response.is_success, (path, response.status_code, response.text)
        return dict(response.json())

    async def get(self, path: str, **request: Any) -> dict[str, Any]:
        response = await self.client.get(path, **request)
        assert response.is_success, (path, response.status_code, response.text)
        return dict(response.json())

    async def all(self, path: str) -> list[dict[str, Any]]:
        """Every page of a list."""
        found: list[dict[str, Any]] = []
        after = None
        while True:
            parameters = {"limit": 100, "order": "asc"} | ({"after": after} if after else {})
            page = await self.get(path, params=parameters)
            found += page["data"]
            after = page["next"]
            if not page["has_more"]:
                return found

    # Documents

    async def upload(self, name: str, content: bytes, content_type: str = "text/plain") -> str:
        """Answers the document's id."""
        path = f"/bots/{self.bot}/documents"
        response = await self.client.post(path, files={"file": (name, content, content_type)})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    async def document(self, document: str) -> dict[str, Any]:
        return await self.get(f"/documents/{document}")

    async def until(
        self, document: str, reached: Callable[[dict[str, Any]], bool], *, seconds: float = 120
    ) -> dict[str, Any]:
        """Look until the document is as it should be; a server that is away meanwhile is no failure."""
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while not (seen and reached(seen)):
                    response = await self.client.get(f"/documents/{document}")
                    if response.is_success:
                        seen = response.json()
                    else:
                        assert response.status_code >= 500, response.text
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise AssertionError(f"The document is still: {seen}") from None
        return seen

    async def ready(self, document: str, *, seconds: float = 120) -> dict[str, Any]:
        """Wait until the document is ready; any other end is a failure."""
        seen = await self.until(document, lambda now: now["status"] not in {"pending", "processing"}, seconds=seconds)
        assert seen["status"] == "ready", seen
        return seen

    async def chunks(self, document: str) -> list[dict[str, Any]]:
        return await self.all(f"/documents/{document}/chunks")

    async def purged(self, target: str, *, seconds: float = 120) -> dict[str, Any]:
        """Wait for the receipt of a deletion."""
        receipt: dict[str, Any] = {"status": "pending"}
        async with asyncio.timeout(seconds):
            while receipt["status"] != "complete":
                receipt = await self.get(f"/deletions/{target}")
                await asyncio.sleep(_PAUSE)
        return receipt

    # Conversations

    async def asks_its_model(self) -> None:
        """Let the bot ask its model, whatever was found."""
        answer = await self.client.patch(f"/bots/{self.bot}", json={"configuration": {"retrieval": {"threshold": 0}}})
        assert answer.is_success, answer.text

    async def conversation(self) -> str:
        return str((await self.post(f"/bots/{self.bot}/conversations", json={}))["id"])

    def asks(self, conversation: str, question: str) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Sent]]:
        """Send a message and read its events."""
        message = {"content": question, "stream": True}
        request = self.client.build_request("POST", f"/conversations/{conversation}/messages", json=message)
        return self._events(request)

    def resumes(
        self, turn: str, after: int, *, client: httpx2.AsyncClient | None = None
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Sent]]:
        """Read a turn's events from where one was cut off, from any API process."""
        client = client or self.client
        client.headers["Authorization"] = self.client.headers["Authorization"]
        headers = {"Last-Event-ID": str(after)}
        return self._events(client.build_request("GET", f"/turns/{turn}/events", headers=headers), client)

    def watches(self, document: str) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Sent]]:
        """Read a document's progress until a final state."""
        return self._events(self.client.build_request("GET", f"/documents/{document}/events"))

    def watches_import(self, import_id: str) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Sent]]:
        """Read an import's progress until a final state."""
        return self._events(self.client.build_request("GET", f"/imports/{import_id}/events"))

    @contextlib.asynccontextmanager
    async def _events(
        self, request: httpx2.Request, client: httpx2.AsyncClient | None = None
    ) -> AsyncIterator[AsyncIterator[Sent]]:
        response = await (client or self.client).send(request, stream=True)
        try:
            if not response.is_success:
                raise AssertionError((response.status_code, await response.aread()))
            yield sent_events(response.aiter_lines())
        finally:
            await response.aclose()


async def sent_events(lines: AsyncIterator[str]) -> AsyncIterator[Sent]:
    """Read the lines of a stream as its events."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "event" in fields:
            yield Sent(int(fields.get("id", 0)), fields["event"], json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


def shown(events: list[Sent]) -> str:
    """What is on the client's screen after these events."""
    text = ""
    for sent in events:
        if sent.event == "message.reset":
            text = ""
        elif sent.event == "message.delta":
            text += sent.data["text"]
    return text
