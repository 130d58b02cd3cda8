"""Turns that are under way all at once, each of them held in another step."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.gates import Gate, Gates
from tests.faults.models import HANDBOOK, NOTES, UNKNOWN, Call, Model, answer, asked, asked_on
from tests.faults.outside import ORDER, READ, STATEMENT, Outside, outside
from tests.faults.readers import Reader
from tests.gemini_double import Endpoint, Fault, GeminiDouble, fine, stalled
from tests.person import Person, shown
from tests.servers import PostgresServer

_SECONDS = 60
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Held:
    """A turn in the middle of a step, and the client that reads it."""

    step: str
    conversation: str
    question: str
    reader: Reader


@dataclass(frozen=True, slots=True)
class Step:
    """How a turn is held in a step, and what a bot and a conversation are like whose turn takes it."""

    hold: Callable[["HeldTurns", Reader], Awaitable[None]]
    configuration: dict[str, Any] = field(default_factory=dict)
    tool: Callable[["HeldTurns", str], Awaitable[tuple[dict[str, Any], Call]]] | None = None
    """Makes a tool for an agent's bot, and the call of it that comes beside a search."""
    knows: bool = True
    """The bot has documents."""
    follows: bool = False
    """Something was asked before."""
    named: bool = True
    """A person has named the conversation."""
    short: Counter[str] = field(default_factory=Counter)
    """Short calls that the turn takes."""
    charged: Counter[str] = field(default_factory=lambda: Counter(generate=1, embed=1))
    """What else it takes of the provider."""


class HeldTurns:
    """Begins turns one after another; each stays where it is, and none comes through a gate that a later one shuts."""

    def __init__(self, person: Person, double: GeminiDouble, model: Model, gates: Gates, reached: Outside) -> None:
        self._person = person
        self._double = double
        self._model = model
        self._gates = gates
        self.outside = reached
        self._waiting: list[str] = []
        self._asking: list[asyncio.Task[None]] = []

    async def begin(self) -> list[Held]:
        # Before the first gate is shut: what was asked before is answered, and documents are read.
        conversations = await asyncio.gather(*(self._prepared(name, step) for name, step in STEPS.items()))
        return [
            await self._hold(name, step, conversation)
            for (name, step), conversation in zip(STEPS.items(), conversations, strict=True)
        ]

    async def let_go(self) -> None:
        """Let those go on that the double, a tool or a gate holds."""
        self._double.release.set()
        self.outside.let_go()
        await self._gates.open()

    def made(self, step: str) -> int:
        """Count the calls of a step that arrived where they are counted."""
        paths = {"send a request that reads": READ, "send a request that changes something": ORDER}
        return self.outside.site.count(paths[step]) if step in paths else len(self.outside.shop.booked)

    async def decide(self) -> None:
        """Allow what waits for a person; servers that come back may say for a while that they are not there."""
        for path in self._waiting:
            while not (answer := await self._person.client.post(path, json={"approved": True})).is_success:
                assert answer.is_server_error, (path, answer.text)
                await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        await self.let_go()
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _prepared(self, name: str, step: Step) -> str:
        """Make a bot and a conversation whose next turn takes the step."""
        configuration = step.configuration
        if step.tool is not None:
            tool, call = await step.tool(self, name)
            configuration = {"agent_type": "react", "tools": [_SEARCH, tool]}
            self._model.tools[asked(name)] = [_search(asked(name)), call]
        bot = await self.bot(configuration, knows=step.knows)
        named = {"title": "Keys"} if step.named else {}
        conversation = str((await self._person.post(f"/bots/{bot}/conversations", json=named))["id"])
        if step.follows:
            earlier = {"content": asked(f"wait for the turn that is to {name}")}
            await self._person.post(f"/conversations/{conversation}/messages", json=earlier)
        return conversation

    async def bot(self, configuration: dict[str, Any], *, knows: bool = True) -> str:
        """Make a bot, with documents that are ready; answers its id."""
        body = {"name": "Porter", "configuration": configuration}
        bot = str((await self._person.post("/bots", json=body))["id"])
        for text in (HANDBOOK, NOTES) if knows else ():
            path = f"/bots/{bot}/documents/text"
            document = await self._person.post(path, json={"name": text.split(".")[0], "text": text})
            await self._person.ready(document["id"])
        return bot

    async def connection(self, **body: Any) -> str:
        """Register what a tool reaches; answers its id."""
        return str((await self._person.post("/connections", json={"name": "Outside", **body}))["id"])

    async def _hold(self, name: str, step: Step, conversation: str) -> Held:
        question = asked(name)
        reader = Reader(self._person, conversation, question)
        async with asyncio.timeout(_SECONDS):
            await step.hold(self, reader)
        return Held(name, conversation, question, reader)

    async def _ask(self, reader: Reader) -> None:
        self._asking.append(asyncio.create_task(reader.ask()))
        await reader.until(lambda seen: bool(seen.turn))

    async def at_gate(self, reader: Reader, gate: Gate, *, after: str = "") -> None:
        """The turn stands there, and the client has seen so much of its answer."""
        others = await self._gates.shut(gate)
        await self._ask(reader)
        await self._gates.reached(gate, by=others + 1)
        await reader.until(lambda seen: shown(seen.events) == after)

    async def answered(self, reader: Reader, gate: Gate) -> None:
        """The whole answer was streamed."""
        await self.at_gate(reader, gate, after=answer(reader.question, 1))

    async def asking(self, reader: Reader, endpoint: Endpoint) -> None:
        """The provider has been asked for something, and says nothing."""
        await self._stalls(reader, endpoint, stalled())

    async def generating(self, reader: Reader, *, after: int) -> None:
        """The provider has sent so many words, and stops; the client has seen some of them."""
        await self._stalls(reader, "generate", stalled(after=after))
        if after:
            await reader.until(lambda seen: any(sent.event == "message.delta" for sent in seen.events))

    async def naming(self, reader: Reader) -> None:
        """As well, and it has been asked for a title beside the answer."""
        before = self._double.calls["complete"]
        self._double.script("complete", stalled())
        await self.generating(reader, after=12)
        while True:
            if self._double.calls["complete"] > before:
                return
            await asyncio.sleep(_PAUSE)

    async def searching(self, reader: Reader) -> None:
        """The model has asked for a search, and the provider for the vector of its words says nothing."""
        self._searches(reader)
        await self._stalls(reader, "embed", stalled())
        await reader.until(lambda seen: any(sent.event == "tool.started" for sent in seen.events))

    async def planning(self, reader: Reader) -> None:
        """The model has been asked for the first step, and says nothing."""
        self._searches(reader)
        await self.generating(reader, after=0)

    async def reporting(self, reader: Reader) -> None:
        """The model has been told what was found, has sent some words, and stops."""
        self._searches(reader)
        self._double.script("generate", fine())
        await self.generating(reader, after=12)

    async def calling(self, reader: Reader, reached: Callable[[], Awaitable[object]]) -> None:
        """A search has given what it found; whom the agent asks beside it says nothing."""
        await self._ask(reader)
        await reached()
        await reader.until(lambda seen: any(sent.event == "tool.completed" for sent in seen.events))

    async def consulting(self, reader: Reader) -> None:
        """As well, and it is another bot, whose model has said some words and stops."""
        self._double.reached.clear()
        self._double.script("generate", fine(), stalled(after=12))
        await self.calling(reader, self._double.reached.wait)

    async def waiting(self, reader: Reader) -> None:
        """The model has asked for a search, which nobody has allowed."""
        self._searches(reader)
        await self._ask(reader)
        await reader.until(lambda seen: any(sent.event == "tool.approval_required" for sent in seen.events))
        self._waiting.append(f"/turns/{reader.turn}/approvals/1")

    def _searches(self, reader: Reader) -> None:
        self._model.tools[reader.question] = [_search(reader.question)]

    async def _stalls(self, reader: Reader, endpoint: Endpoint, fault: Fault) -> None:
        self._double.reached.clear()
        self._double.script(endpoint, fault)
        await self._ask(reader)
        await self._double.reached.wait()


def _search(question: str) -> Call:
    return "search_documents", {"query": question}


async def _reads_a_page(held: HeldTurns, name: str) -> tuple[dict[str, Any], Call]:
    url = held.outside.site.url + READ
    return {"type": "http_request", "allow": [url], "seconds": 60}, ("http_request", {"url": url})


async def _orders(held: HeldTurns, name: str) -> tuple[dict[str, Any], Call]:
    url = held.outside.site.url + ORDER
    tool = {"type": "http_request", "allow": [url], "methods": ["POST"], "seconds": 60}
    return tool, ("http_request", {"url": url, "method": "POST", "body": "{}"})


async def _books(held: HeldTurns, name: str) -> tuple[dict[str, Any], Call]:
    connection = await held.connection(kind="mcp", url=held.outside.shop.url)
    return {"type": "mcp", "connection_id": connection, "seconds": 60}, ("mcp__book", {"room": "7"})


async def _queries(held: HeldTurns, name: str) -> tuple[dict[str, Any], Call]:
    connection = await held.connection(kind="postgres", dsn=held.outside.dsn)
    return {"type": "sql_query", "connection_id": connection, "seconds": 60}, ("sql_query", {"statement": STATEMENT})


async def _asks_on(held: HeldTurns, name: str) -> tuple[dict[str, Any], Call]:
    return {"type": "ask_bot", "bot_id": await held.bot({})}, ("ask_bot", {"question": asked_on(name)})


_SEARCH = {"type": "search_documents"}
_AGENT = {"agent_type": "react", "tools": [_SEARCH]}
_CAREFUL_AGENT = {"agent_type": "react", "tools": [_SEARCH | {"needs_approval": True}]}
_TWO_STEPS = Counter(generate=2, embed=1)

STEPS: dict[str, Step] = {
    "store the answer": Step(lambda held, reader: held.answered(reader, Gate.ANSWERED)),
    "store the draft": Step(lambda held, reader: held.answered(reader, Gate.DRAFTED)),
    "decline": Step(
        lambda held, reader: held.at_gate(reader, Gate.DRAFTED),
        configuration={"unknown_answer": UNKNOWN},
        knows=False,
        charged=Counter(embed=1),
    ),
    "stream": Step(lambda held, reader: held.generating(reader, after=12)),
    "begin to stream": Step(lambda held, reader: held.generating(reader, after=0)),
    "report as an agent": Step(lambda held, reader: held.reporting(reader), configuration=_AGENT, charged=_TWO_STEPS),
    "ask another bot": Step(
        lambda held, reader: held.consulting(reader),
        tool=_asks_on,
        charged=_TWO_STEPS + Counter(generate=1, embed=1),
    ),
    "wait for an approval": Step(
        lambda held, reader: held.waiting(reader), configuration=_CAREFUL_AGENT, charged=_TWO_STEPS
    ),
    "send a request that reads": Step(
        lambda held, reader: held.calling(reader, lambda: held.outside.visited(READ)),
        tool=_reads_a_page,
        charged=_TWO_STEPS,
    ),
    "send a request that changes something": Step(
        lambda held, reader: held.calling(reader, lambda: held.outside.visited(ORDER)),
        tool=_orders,
        charged=_TWO_STEPS,
    ),
    "call an MCP tool": Step(
        lambda held, reader: held.calling(reader, held.outside.shop.reached.wait), tool=_books, charged=_TWO_STEPS
    ),
    "query SQL": Step(
        lambda held, reader: held.calling(reader, held.outside.queried), tool=_queries, charged=_TWO_STEPS
    ),
    "plan as an agent": Step(lambda held, reader: held.planning(reader), configuration=_AGENT, charged=_TWO_STEPS),
    "search as an agent": Step(lambda held, reader: held.searching(reader), configuration=_AGENT, charged=_TWO_STEPS),
    "summarize": Step(
        lambda held, reader: held.asking(reader, "complete"),
        configuration={"history_messages": 1, "retrieval": {"condense": False}},
        follows=True,
        short=Counter(summarize=1),
    ),
    "put passages in order": Step(
        lambda held, reader: held.asking(reader, "complete"),
        configuration={"retrieval": {"rerank": True}},
        short=Counter(rerank=1),
    ),
    "name the conversation": Step(lambda held, reader: held.naming(reader), named=False, short=Counter(title=1)),
    "understand the question": Step(
        lambda held, reader: held.asking(reader, "complete"),
        configuration={"retrieval": {"queries": 2}},
        short=Counter(understand=1),
    ),
    "find passages": Step(lambda held, reader: held.asking(reader, "embed")),
    "take the turn up": Step(lambda held, reader: held.at_gate(reader, Gate.BEGUN)),
}
"""From the last one to the first: a turn comes through the gates of the steps before its own. Steps that a policy
gives twenty seconds or ten come at the end, so that none of them is given up before the last turn is held."""


@contextlib.asynccontextmanager
async def held_turns(
    person: Person, double: GeminiDouble, model: Model, url: str, server: PostgresServer
) -> AsyncIterator[HeldTurns]:
    """Put the model behind the double, build the gates and what tools reach, and take all of it away."""
    double.answering, double.completing, double.planning = model, model.complete, model.plan
    double.keep_requests = True
    gates = Gates(url)
    await gates.build()
    async with outside(server) as reached:
        held = HeldTurns(person, double, model, gates, reached)
        try:
            yield held
        finally:
            double.keep_requests = False
            await held.close()
            await gates.remove()
