"""The paths of `AnswerTurn`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from adapters.temporal.runs import start_turn
from domain import runs
from domain.errors import SafetyBlocked, TurnClosed
from domain.ids import BotId, ConversationId, TurnId, UserId
from domain.steps import LoadedHistory, Persisted, Retrieved, TurnRef
from tests.replay.runs import await_end, histories_of
from tests.workflows.turn_runs import FakeSteps, stalled, workers

Run = WorkflowHandle[object, Persisted]
UNDERSTANDS = LoadedHistory(messages=2, tokens=20, searches_understood=True)
UNDERSTOOD_BEFORE = LoadedHistory(messages=2, tokens=20, understand=True)
UNTITLED = LoadedHistory(messages=0, tokens=0, answers_titled=True)
UNTITLED_BEFORE = LoadedHistory(messages=0, tokens=0, title=True)
CANDIDATES = Retrieved(passages=20, rerank=True, relevance=0.9)
ENDED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
_PAUSE = 0.05


def ref_of(number: int) -> TurnRef:
    """The same ids in every recording, so that a new one differs by what changed."""
    return TurnRef(
        owner_id=UserId(UUID(int=1)),
        bot_id=BotId(UUID(int=2)),
        conversation_id=ConversationId(UUID(int=number)),
        turn_id=TurnId(UUID(int=number * 100)),
    )


async def played(
    client: Client, number: int, fakes: FakeSteps, act: Callable[[Run], Awaitable[None]] | None = None
) -> list[WorkflowHistory]:
    """Play a turn to its end; `act` does what a person does meanwhile."""
    ref = ref_of(number)
    async with workers(client, fakes, cached=True):
        assert await start_turn(client, ref)
        run: Run = client.get_workflow_handle(runs.turn_run(ref.conversation_id), result_type=Persisted)
        if act is not None:
            await act(run)
        return await histories_of(client, await await_end(run))


async def stopped_when(client: Client, number: int, fakes: FakeSteps, reached: asyncio.Event) -> list[WorkflowHistory]:
    """Play a turn that its user stops at a moment."""

    async def stop(run: Run) -> None:
        await reached.wait()
        await run.cancel()

    return await played(client, number, fakes, stop)


async def until(run: Run, event: EventType.ValueType, *, times: int = 1) -> None:
    """Wait until something has come into the run's history so often."""
    while True:
        events = (await run.fetch_history()).events
        if sum(each.event_type == event for each in events) >= times:
            return
        await asyncio.sleep(_PAUSE)


async def played_beside_its_title(
    client: Client, number: int, fakes: FakeSteps, *, step: str = "write", end: EventType.ValueType = ENDED, times: int
) -> list[WorkflowHistory]:
    """Play a turn of which one step ends after its title: when so many steps have come to such an end."""
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    async def watch(run: Run) -> None:
        await until(run, end, times=times)
        go_on.set()

    setattr(fakes, step, wait)
    return await played(client, number, fakes, watch)


async def declined_step() -> None:
    """A step whose model declines."""
    raise SafetyBlocked("The model declined to answer. Ask in other words.")


async def answered(client: Client) -> list[WorkflowHistory]:
    """A turn without trouble."""
    return await played(client, 30, FakeSteps())


async def declined(client: Client) -> list[WorkflowHistory]:
    """A turn whose bot knows nothing of what is asked."""
    return await played(client, 34, FakeSteps(found=Retrieved(passages=0, unknown=True)))


async def understood(client: Client) -> list[WorkflowHistory]:
    """A follow-up question that is put into words in a step of its own, as older releases do."""
    return await played(client, 35, FakeSteps(loaded=UNDERSTOOD_BEFORE))


async def searched_understood(client: Client) -> list[WorkflowHistory]:
    """A follow-up question, which is put into words that stand by themselves."""
    return await played(client, 73, FakeSteps(loaded=UNDERSTANDS))


async def stopped_search_understood(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops while its question is understood."""
    reached = asyncio.Event()
    fakes = FakeSteps(loaded=UNDERSTANDS, find=lambda: stalled(reached))
    return await stopped_when(client, 74, fakes, reached)


async def reranked(client: Client) -> list[WorkflowHistory]:
    """A turn whose passages a model puts in order."""
    return await played(client, 36, FakeSteps(found=CANDIDATES))


async def failed_generation(client: Client) -> list[WorkflowHistory]:
    """A turn whose answer the provider declines."""
    return await played(client, 31, FakeSteps(write=declined_step))


async def stopped(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops in the middle of the answer."""
    reached = asyncio.Event()
    return await stopped_when(client, 32, FakeSteps(write=lambda: stalled(reached)), reached)


async def stopped_retrieval(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops before the answer has begun."""
    reached = asyncio.Event()
    return await stopped_when(client, 33, FakeSteps(find=lambda: stalled(reached)), reached)


async def summarized_and_titled(client: Client) -> list[WorkflowHistory]:
    """A turn that needs a summary before its answer and a title beside it."""
    fakes = FakeSteps(loaded=LoadedHistory(messages=2, tokens=20, summarize=True, title=True))
    return await played_beside_its_title(client, 37, fakes, times=3)


async def failed_summary(client: Client) -> list[WorkflowHistory]:
    """A turn that goes on without the summary, whose model declines."""

    async def decline() -> None:
        raise SafetyBlocked("The model declined. Nothing was summarised.")

    loaded = LoadedHistory(messages=2, tokens=20, summarize=True)
    return await played(client, 38, FakeSteps(loaded=loaded, sum_up=decline))


async def late_title(client: Client) -> list[WorkflowHistory]:
    """A turn that does not wait for its title any longer."""
    return await played(client, 39, FakeSteps(loaded=UNTITLED_BEFORE, name=lambda: stalled(asyncio.Event())))


async def answered_titled(client: Client) -> list[WorkflowHistory]:
    """A turn whose answer and title come of one step."""
    return await played(client, 75, FakeSteps(loaded=UNTITLED))


async def declined_titled(client: Client) -> list[WorkflowHistory]:
    """A turn whose bot knows nothing of what is asked, and whose conversation is named all the same."""
    fakes = FakeSteps(loaded=UNTITLED, found=Retrieved(passages=0, unknown=True))
    return await played(client, 76, fakes)


async def failed_titled(client: Client) -> list[WorkflowHistory]:
    """A turn whose answer fails in the step that names the conversation as well."""
    return await played(client, 77, FakeSteps(loaded=UNTITLED, write=declined_step))


async def stopped_titled(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops in the step that names the conversation as well."""
    reached = asyncio.Event()
    return await stopped_when(client, 78, FakeSteps(loaded=UNTITLED, write=lambda: stalled(reached)), reached)


async def closed(client: Client) -> list[WorkflowHistory]:
    """A turn that was deleted before it was taken up."""

    async def refuse() -> None:
        raise TurnClosed("The turn is finished, was deleted, or is written by a later attempt.")

    return await played(client, 50, FakeSteps(load=refuse))


async def stopped_at_once(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops before a worker takes it."""
    ref = ref_of(51)
    assert await start_turn(client, ref)
    run: Run = client.get_workflow_handle(runs.turn_run(ref.conversation_id), result_type=Persisted)
    await run.cancel()
    async with workers(client, FakeSteps(), cached=True):
        return await histories_of(client, await await_end(run))


async def stopped_at_a_deaf_step(client: Client) -> list[WorkflowHistory]:
    """A turn whose retrieval comes to its end although it was to stop."""
    reached = asyncio.Event()

    async def find() -> None:
        with suppress(asyncio.CancelledError):
            await stalled(reached)

    return await stopped_when(client, 52, FakeSteps(find=find), reached)


async def everything_titled(client: Client) -> list[WorkflowHistory]:
    """A turn that needs a summary, another question, an order and a title."""
    loaded = LoadedHistory(messages=2, tokens=20, summarize=True, searches_understood=True, answers_titled=True)
    return await played(client, 79, FakeSteps(loaded=loaded, found=CANDIDATES))


async def everything(client: Client) -> list[WorkflowHistory]:
    """A turn that takes every step there is, those of older releases for question and title."""
    loaded = LoadedHistory(messages=2, tokens=20, summarize=True, title=True, understand=True)
    return await played_beside_its_title(client, 53, FakeSteps(loaded=loaded, found=CANDIDATES), times=5)


async def failed_understanding(client: Client) -> list[WorkflowHistory]:
    """A question that is searched for as it was asked."""
    return await played(client, 54, FakeSteps(loaded=UNDERSTOOD_BEFORE, understand=declined_step))


async def stopped_understanding(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops in the step of its own that understands the question."""
    reached = asyncio.Event()
    fakes = FakeSteps(loaded=UNDERSTOOD_BEFORE, understand=lambda: stalled(reached))
    return await stopped_when(client, 55, fakes, reached)


async def stopped_summary(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops while its history is summarised."""
    reached = asyncio.Event()
    loaded = LoadedHistory(messages=2, tokens=20, summarize=True)
    return await stopped_when(client, 56, FakeSteps(loaded=loaded, sum_up=lambda: stalled(reached)), reached)


async def failed_reranking(client: Client) -> list[WorkflowHistory]:
    """A turn whose passages cannot be stored in their order, and so not be answered from."""
    return await played(client, 57, FakeSteps(found=CANDIDATES, order=declined_step))


async def stopped_reranking(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops while its passages are put in order."""
    reached = asyncio.Event()
    return await stopped_when(client, 58, FakeSteps(found=CANDIDATES, order=lambda: stalled(reached)), reached)


async def failed_title(client: Client) -> list[WorkflowHistory]:
    """A turn that goes on without a title, whose model declines."""
    fakes, failed = FakeSteps(loaded=UNTITLED_BEFORE, name=declined_step), EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
    return await played_beside_its_title(client, 59, fakes, end=failed, times=1)


async def failed_beside_its_title(client: Client) -> list[WorkflowHistory]:
    """A turn whose answer fails while its title is being found."""
    reached = asyncio.Event()

    async def answer() -> None:
        await reached.wait()
        await declined_step()

    return await played(client, 70, FakeSteps(loaded=UNTITLED_BEFORE, name=lambda: stalled(reached), write=answer))


async def stopped_beside_its_title(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops while answer and title are being written."""
    named, reached = asyncio.Event(), asyncio.Event()

    async def answer() -> None:
        await named.wait()
        await stalled(reached)

    fakes = FakeSteps(loaded=UNTITLED_BEFORE, name=lambda: stalled(named), write=answer)
    return await stopped_when(client, 71, fakes, reached)


async def stopped_before_its_title(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops when only the title is left."""

    async def stop(run: Run) -> None:
        await until(run, EventType.EVENT_TYPE_TIMER_STARTED)
        await run.cancel()

    return await played(client, 72, FakeSteps(loaded=UNTITLED_BEFORE, name=lambda: stalled(asyncio.Event())), stop)


PATHS = {
    "turn": answered,
    "turn_closed": closed,
    "turn_declined": declined,
    "turn_understood": understood,
    "turn_searched_understood": searched_understood,
    "turn_stopped_search_understood": stopped_search_understood,
    "turn_reranked": reranked,
    "turn_everything": everything,
    "turn_everything_titled": everything_titled,
    "turn_failed_generation": failed_generation,
    "turn_failed_understanding": failed_understanding,
    "turn_failed_reranking": failed_reranking,
    "turn_stopped": stopped,
    "turn_stopped_at_once": stopped_at_once,
    "turn_stopped_at_a_deaf_step": stopped_at_a_deaf_step,
    "turn_stopped_retrieval": stopped_retrieval,
    "turn_stopped_summary": stopped_summary,
    "turn_stopped_understanding": stopped_understanding,
    "turn_stopped_reranking": stopped_reranking,
    "turn_summarized_and_titled": summarized_and_titled,
    "turn_failed_summary": failed_summary,
    "turn_answered_titled": answered_titled,
    "turn_declined_titled": declined_titled,
    "turn_failed_titled": failed_titled,
    "turn_stopped_titled": stopped_titled,
    "turn_late_title": late_title,
    "turn_failed_title": failed_title,
    "turn_failed_beside_its_title": failed_beside_its_title,
    "turn_stopped_beside_its_title": stopped_beside_its_title,
    "turn_stopped_before_its_title": stopped_before_its_title,
}
