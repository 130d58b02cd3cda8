"""A kill in each step of a streamed turn: the client goes on at another API process and ends with what is stored."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.faults.held_turns import STEPS, Held, held_turns
from tests.faults.models import HANDBOOK, QUOTE, TITLE, UNKNOWN, Model, answer, asked, charged, short_calls
from tests.faults.readers import Reader
from tests.gemini_double import GeminiDouble, stalled
from tests.person import FINAL, Person, Sent, shown
from tests.processes import Api, Deployment, Worker

_SECONDS = 120
# A step that had paid the provider, and not stored what came of it.
PAYING = {
    "begin to stream",
    "stream",
    "store the draft",
    "name the conversation",
    "ask another bot",
    "plan as an agent",
    "report as an agent",
}
# As well, for the vector of what is searched for.
SEARCHING = {"find passages", "search as an agent"}
# Tools that wait beside a search, by what the model calls them.
CALLING = {
    "ask another bot": "ask_bot",
    "send a request that reads": "http_request",
    "send a request that changes something": "http_request",
    "call an MCP tool": "mcp__book",
    "query SQL": "sql_query",
}
# What a client had been told in a step, where nothing of the answer was written.
SEEN: dict[str, tuple[str, ...]] = {
    "take the turn up": (),
    **dict.fromkeys(
        ("find passages", "understand the question", "put passages in order", "summarize", "plan as an agent"),
        ("turn.started",),
    ),
    **dict.fromkeys(("begin to stream", "decline"), ("turn.started", "turn.retrieved")),
    "search as an agent": ("turn.started", "tool.started"),
    "wait for an approval": ("turn.started", "tool.approval_required"),
    **dict.fromkeys(CALLING, ("turn.started", "tool.started", "tool.started", "turn.retrieved", "tool.completed")),
}
# Steps in which some of it was.
WRITING = {"stream", "name the conversation", "report as an agent"}


async def the_worker(deployed: Deployment, api: Api) -> Callable[[], Awaitable[object]]:
    await (await deployed.a_worker()).kill()
    return deployed.worker


async def the_api(deployed: Deployment, api: Api) -> Callable[[], Awaitable[object]]:
    await api.kill()
    return deployed.api


async def temporal(deployed: Deployment, api: Api) -> Callable[[], Awaitable[object]]:
    await deployed.temporal.stop(signal.SIGKILL)
    return deployed.temporal.start


async def postgres(deployed: Deployment, api: Api) -> Callable[[], Awaitable[object]]:
    await deployed.postgres.kill()
    return deployed.postgres.start


VICTIMS = {"the worker": the_worker, "the API": the_api, "Temporal": temporal, "Postgres": postgres}


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a turn that was under way when something was killed."""

    victim: str
    held: Held
    before: int
    """Events that had been seen when it happened."""
    events: list[Sent]
    """What the client saw that went on at another process, from the first one on."""
    stayed: list[Sent]
    """What a client saw whose connection held, where it did."""
    messages: list[dict[str, Any]]
    title: str
    calls: int
    """Answers that the model was asked for."""
    short: Counter[str]
    """Short calls before and beside it, by what they ask for."""
    charged: Counter[str]
    """Answers and an agent's steps, and vectors of searches."""
    made: int
    """How often the call of its tool was made that is counted where it arrives."""
    read_again: list[Sent]
    """What a client sees that comes when all is over."""

    @property
    def seen(self) -> list[str]:
        """Kinds of the events that came before it."""
        return [sent.event for sent in self.events[: self.before]]

    @property
    def answer(self) -> str:
        """What is to be shown at the end."""
        return UNKNOWN if self.held.step == "decline" else answer(self.held.question, self.calls)


@pytest_asyncio.fixture(scope="module", params=VICTIMS)
async def fates(request: pytest.FixtureRequest, deployed: Deployment) -> AsyncIterator[dict[str, Fate]]:
    """Turns, each in another step; then the kill; then what became of them."""
    double, model, api = deployed.double, Model(), await deployed.an_api()
    other = await deployed.api()
    await deployed.a_worker()
    double.reset()
    await deployed.forget_refusals()
    async with api.client() as client, other.client() as elsewhere:
        person = await Person.arrives(client)
        async with held_turns(person, double, model, deployed.database_url, deployed.postgres) as turns_:
            held = await turns_.begin()
            before = {each.step: len(each.reader.events) for each in held}
            going = [each.reader.taken_over() for each in held]
            restart = await VICTIMS[request.param](deployed, api)
            await turns_.let_go()
            ends = asyncio.gather(*(at_its_end(reader, elsewhere) for reader in going))
            await restart()
            elsewhere.headers["Authorization"] = client.headers["Authorization"]
            person.client = elsewhere
            await turns_.decide()
            await ends
            if request.param != "the API":
                await asyncio.gather(*(within_reach(each.reader) for each in held))
            yield {
                each.step: Fate(
                    request.param,
                    each,
                    before[each.step],
                    reader.events,
                    each.reader.events if request.param != "the API" else [],
                    (await person.all(f"/conversations/{each.conversation}/messages"))[-2:],
                    (await person.get(f"/conversations/{each.conversation}"))["title"],
                    model.calls[each.question],
                    short_calls(double, each.step),
                    charged(double, each.step),
                    turns_.made(each.step),
                    await all_of(reader, elsewhere),
                )
                for each, reader in zip(held, going, strict=True)
            }
    await other.stop()


async def at_its_end(reader: Reader, client: httpx2.AsyncClient) -> None:
    """Go on until the last event, or for as long as the test can wait: what was seen till then is what it judges."""
    try:
        async with asyncio.timeout(_SECONDS):
            await reader.go_on(client)
    except TimeoutError:
        return


async def within_reach(reader: Reader) -> None:
    try:
        async with asyncio.timeout(120):
            await reader.until(lambda seen: seen.ended)
    except TimeoutError:
        return


async def all_of(reader: Reader, client: httpx2.AsyncClient) -> list[Sent]:
    """Read a turn that is over from its first event on."""
    late = reader.taken_over()
    late.events.clear()
    await late.go_on(client)
    return late.events


@pytest.mark.parametrize("step", list(reversed(STEPS)))
async def test_a_client_that_goes_on_elsewhere_ends_with_the_text_that_is_stored(
    fates: dict[str, Fate], step: str
) -> None:
    fate = fates[step]
    kinds = [sent.event for sent in fate.events]
    assert kinds[-1:] == ["message.completed"], kinds
    assert [sent.id for sent in fate.events] == list(range(1, len(kinds) + 1))
    assert (kinds.count("turn.started"), kinds.count("turn.retrieved"), sum(kind in FINAL for kind in kinds)) == (
        1,
        1,
        1,
    )
    told = fate.events[-1].data["message"]
    assert [message["role"] for message in fate.messages] == ["user", "assistant"]
    assert fate.messages[1] == told
    assert (told["status"], told["turn_id"]) == ("complete", fate.held.reader.turn)
    assert shown(fate.events) == told["content"] == fate.answer
    assert [citation["quote"] for citation in told["citations"]] == [QUOTE] * (step != "decline")
    assert fate.read_again == fate.events


@pytest.mark.parametrize("step", list(reversed(STEPS)))
async def test_the_kill_came_in_the_step(fates: dict[str, Fate], step: str) -> None:
    fate = fates[step]
    seen = shown(fate.events[: fate.before])
    if step in SEEN:
        assert sorted(fate.seen) == sorted(SEEN[step])  # calls run beside each other
    elif step in WRITING:
        assert 0 < len(seen) < len(answer(fate.held.question, 1))
    else:
        assert seen == answer(fate.held.question, 1)
    assert not set(fate.seen) & FINAL


@pytest.mark.parametrize("step", list(reversed(STEPS)))
async def test_a_kill_costs_one_more_answer_at_most(fates: dict[str, Fate], step: str) -> None:
    fate, needed = fates[step], STEPS[step].charged["generate"]
    paid_again = step in PAYING and fate.victim in {"the worker", "Temporal"}
    assert needed <= fate.charged["generate"] <= needed + paid_again
    resets = [sent.data["attempt"] for sent in fate.events if sent.event == "message.reset"]
    assert len(resets) <= fate.charged["generate"] - needed


@pytest.mark.parametrize("step", list(reversed(STEPS)))
async def test_a_kill_costs_one_more_vector_of_a_question_at_most(fates: dict[str, Fate], step: str) -> None:
    fate, needed = fates[step], STEPS[step].charged["embed"]
    paid_again = step in SEARCHING and fate.victim != "the API"
    assert needed <= fate.charged["embed"] <= needed + paid_again


@pytest.mark.parametrize("step", list(reversed(STEPS)))
async def test_a_kill_costs_one_more_short_call_at_most(fates: dict[str, Fate], step: str) -> None:
    fate, needed = fates[step], STEPS[step].short
    assert needed <= fate.short
    assert (fate.short - needed).total() <= (fate.victim != "the API")
    assert fate.short.keys() == needed.keys(), "it was asked for what it was not to do"


@pytest.mark.parametrize("step", ["send a request that changes something", "call an MCP tool"])
async def test_a_call_that_may_change_something_is_made_once_and_is_doubtful_where_its_worker_died(
    fates: dict[str, Fate], step: str
) -> None:
    fate = fates[step]
    assert fate.made == 1
    assert ended_as(fate) == ("unknown" if fate.victim == "the worker" else "complete")


@pytest.mark.parametrize("step", ["send a request that reads", "query SQL", "ask another bot"])
async def test_a_call_that_only_reads_is_made_again_where_its_worker_died(fates: dict[str, Fate], step: str) -> None:
    fate = fates[step]
    died_with_it = step == "query SQL" and fate.victim == "Postgres"  # the database that was asked
    assert ended_as(fate) == ("failed" if died_with_it else "complete")
    if step == "send a request that reads":
        assert fate.made == 1 + (fate.victim == "the worker")


def ended_as(fate: Fate) -> str:
    """Tell the status of a step's call."""
    ends = [sent.data for sent in fate.events if sent.event == "tool.completed"]
    (status,) = [str(end["status"]) for end in ends if end["name"] == CALLING[fate.held.step]]
    return status


async def test_a_title_that_was_being_found_is_found_or_the_questions_words_stay(fates: dict[str, Fate]) -> None:
    fate = fates["name the conversation"]
    # A worker's death is noticed after seconds, and the turn does not wait for its title much longer than for its answer.
    left_out = fate.victim in {"the worker", "Postgres"} and fate.title.startswith("Where does the spare key")
    assert fate.title == TITLE or left_out


@pytest.mark.parametrize("step", list(reversed(STEPS)))
async def test_a_client_that_stays_sees_the_same(fates: dict[str, Fate], step: str) -> None:
    fate = fates[step]
    if fate.victim != "the API":  # whose clients have lost their connection
        assert fate.stayed == fate.events
    assert fate.events[: fate.before] == fate.held.reader.events[: fate.before]


async def test_one_answer_outlives_the_kill_of_everything(
    deployed: Deployment, double: GeminiDouble, worker: Worker, api: Api, person: Person
) -> None:
    model, question = Model(), asked("outlive everything")
    double.answering = model
    double.script("generate", *[stalled(after=12)] * 4)
    await person.ready(await person.upload("handbook.txt", HANDBOOK.encode()))
    reader, other = Reader(person, await person.conversation(), question), await deployed.api()
    async with asyncio.timeout(_SECONDS), other.client() as elsewhere, asyncio.TaskGroup() as group:
        group.create_task(reader.ask())
        await double.reached.wait()
        await reader.until(lambda seen: bool(shown(seen.events)))
        double.reached.clear()
        await worker.kill()
        await deployed.worker()
        await double.reached.wait()  # of the second attempt
        await reader.until(lambda seen: "Answer 2" in shown(seen.events))
        await deployed.postgres.kill()
        await deployed.postgres.start()
        await api.kill()
        group.create_task(reader.go_on(elsewhere))
        await deployed.temporal.stop(signal.SIGKILL)
        await deployed.temporal.start()
        double.release.set()
    assert reader.ended
    told = reader.events[-1].data["message"]
    assert told["content"] == shown(reader.events) == answer(question, model.calls[question])
    assert told["status"] == "complete"
    assert 2 <= model.calls[question] <= 1 + len(VICTIMS)
    assert [sent.id for sent in reader.events] == list(range(1, len(reader.events) + 1))
    await other.stop()
