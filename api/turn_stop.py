"""Stopping a turn: what is written is kept, as a partial answer."""

from datetime import timedelta

from adapters.clock import now
from adapters.postgres import turn_requests
from adapters.postgres.engine import transaction
from adapters.postgres.turn_requests import TurnView
from adapters.temporal.runs import cancel_run, open_run
from adapters.wiring import Adapters
from api.streaming import ended
from domain import runs
from domain.ids import ConversationId, TurnId, UserId

# A stop reaches the step with its next heartbeat, and the partial answer is stored right after.
WAIT = timedelta(seconds=5)


async def stop_run(adapters: Adapters, owner: UserId, view: TurnView) -> None:
    """Stop the run of a turn that is not final, and close the turn where its run is gone."""
    turn, conversation = TurnId(view.row.id), ConversationId(view.row.conversation_id)
    id_ = runs.turn_run(conversation)
    # By its run: the conversation's next turn has the same workflow id. The row does not name one that a reset has put
    # in its place; which one is open is asked while this turn is unfinished, so that it is this turn's.
    run = await open_run(adapters.temporal, id_)
    if await ended(adapters, turn, within=timedelta(0)):
        return
    told = run is not None and await cancel_run(adapters.temporal, id_, run_id=run)
    if told and (await ended(adapters, turn, within=WAIT) or await open_run(adapters.temporal, id_)):
        return
    async with transaction(adapters.engine) as connection:
        await turn_requests.close_unstarted(connection, owner, turn, now=now(), run_is_gone=True)
