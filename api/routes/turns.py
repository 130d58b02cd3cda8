"""Turns: look, follow, stop."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from adapters.clock import now
from adapters.postgres import turn_requests
from adapters.postgres.engine import transaction
from adapters.temporal.runs import cancel_run, is_open
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.idempotency import OnceDep
from api.schemas.turns import EVENTS, Turn
from api.streaming import ended, event_stream, turn_stream
from domain import runs
from domain.errors import StateConflict
from domain.ids import ConversationId, TurnId, UserId

router = APIRouter(prefix="/turns", tags=["Conversations"])

# A stop reaches the step with its next heartbeat, and the partial answer is stored right after.
_WAIT = timedelta(seconds=5)

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
        await turn_requests.read(connection, user.id, TurnId(turn_id))
    seen = after if last_event_id is None else last_event_id
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
        await _stop(adapters, user.id, view)
    async with transaction(adapters.engine) as connection:
        answer = Turn.of(await turn_requests.read(connection, user.id, turn))
        return await once.keep(connection, user.id, 200, answer)


async def _stop(adapters: Adapters, owner: UserId, view: turn_requests.TurnView) -> None:
    turn, conversation = TurnId(view.row.id), ConversationId(view.row.conversation_id)
    id_ = runs.turn_run(conversation)
    # By its run: the conversation's next turn has the same workflow id. A closed run takes a cancel in silence.
    told = await cancel_run(adapters.temporal, id_, run_id=view.row.run_id)
    if told and (await ended(adapters, turn, within=_WAIT) or await is_open(adapters.temporal, id_)):
        return
    async with transaction(adapters.engine) as connection:
        await turn_requests.close_unstarted(connection, owner, turn, now=now(), run_is_gone=True)
