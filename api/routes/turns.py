"""Turns: look, follow, stop."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response

from adapters.clock import now
from adapters.postgres import approvals, turn_requests
from adapters.postgres.engine import transaction
from adapters.temporal.runs import wake_turn
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.idempotency import OnceDep
from api.schemas.turns import EVENTS, DecisionBody, Turn
from api.starting import started
from api.streaming import event_stream, turn_stream
from api.turn_stop import stop_run
from domain.errors import InvalidCursor, StateConflict
from domain.ids import ConversationId, TurnId

router = APIRouter(prefix="/turns", tags=["Conversations"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`turn.started`, `turn.retrieved`, `message.delta`, `message.reset`, and at the end one of "
        "`message.completed`, `turn.failed`, `turn.cancelled`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS}},
    }
}


@router.get("/{turn_id}", summary="See a turn", responses=responses(401, 403, 404))
async def get_turn(turn_id: UUID, user: Reader, connection: TransactionDep) -> Turn:
    """See where a turn stands, and its answer when it has ended."""
    return Turn.of(await turn_requests.read(connection, user.id, TurnId(turn_id)))


@router.get(
    "/{turn_id}/events",
    summary="Follow a turn",
    response_class=Response,
    responses=responses(401, 403, 404) | _STREAM,
)
async def follow_turn(
    turn_id: UUID,
    user: Reader,
    adapters: AdaptersDep,
    after: Annotated[int, Query(ge=0, le=2**62, description="The sequence that was seen last.")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62, description="As `after`; goes before it.")] = None,
) -> Response:
    """Stream a turn's events from the beginning or after a sequence, while it runs or when it has ended."""
    async with transaction(adapters.engine) as connection:
        view = await turn_requests.read(connection, user.id, TurnId(turn_id))
    seen, param = (after, "after") if last_event_id is None else (last_event_id, "last-event-id")
    if seen > view.row.last_sequence:
        # An event is stored before anybody sees it, so a client that waited behind this one would miss those before.
        raise InvalidCursor("This turn has told no event of this number. Follow it from the beginning.", param=param)
    return event_stream(turn_stream(adapters, TurnId(turn_id), after=seen))


@router.post("/{turn_id}/cancel", summary="Stop a turn", responses=responses(401, 403, 404, 409))
async def cancel_turn(turn_id: UUID, user: Writer, adapters: AdaptersDep, once: OnceDep) -> Turn:
    """Stop writing and keep what is written, as a `partial` answer. 409 where the turn has ended."""
    turn = TurnId(turn_id)
    async with transaction(adapters.engine) as connection:
        first = await once.claim(connection, user.id)
        view = await turn_requests.read(connection, user.id, turn, lock=True)
        if view.final and first:
            raise StateConflict("This turn has ended; there is nothing left to stop.")
        view = await turn_requests.close_unstarted(connection, user.id, turn, now=now())
    if not view.final:
        await stop_run(adapters, user.id, view)
    async with transaction(adapters.engine) as connection:
        answer = Turn.of(await turn_requests.read(connection, user.id, turn))
        return await once.keep(connection, user.id, 200, answer)


@router.post(
    "/{turn_id}/approvals/{number}", summary="Decide a tool call", responses=responses(400, 401, 403, 404, 409)
)
async def decide_call(
    turn_id: UUID,
    number: Annotated[int, Path(ge=1, le=10_000)],
    body: DecisionBody,
    user: Writer,
    adapters: AdaptersDep,
    once: OnceDep,
) -> Turn:
    """Allow a call of the agent's tool, or refuse it; it waits as long as it must. 409 where the turn has ended.

    The decision is stored before the agent is told: what a crash keeps from it now, it is told later.
    """
    turn = TurnId(turn_id)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        view = await turn_requests.read(connection, user.id, turn, lock=True)
        if view.final:
            raise StateConflict("This turn has ended; there is nothing left to decide.")
        decision = approvals.Decision(body.approved, body.comment)
        await approvals.decide(connection, turn, number, decision, now=now())
        answer = Turn.of(await turn_requests.read(connection, user.id, turn))
        await once.keep(connection, user.id, 200, answer)
    await started(wake_turn(adapters.temporal, ConversationId(view.row.conversation_id)))
    return answer
