"""The tool `ask_bot`: the question becomes a turn of another bot, whose answer is the call's result."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.tool_calls import offers_of, read_call
from activities.writer import this_writer
from adapters.postgres import consultations, tool_calls, turns
from adapters.postgres.engine import transaction
from adapters.postgres.tool_calls import Outcome
from domain import steps
from domain.ids import call_id
from domain.markers import MarkerFilter
from domain.messages import Message, MessageStatus
from domain.offers import AskArguments, Refusal, cut
from domain.steps import CallEnded, CallRef, Consultation
from domain.tools import CONSULTATIONS_DEEP, AskBot, CallStatus

_NOBODY = "There is no such bot any more, or it is inactive."
_TOO_DEEP = "No further bot can be asked from here: bots were asked by bots too often. Answer with what there is."


class Consultations:
    """Opens and closes the turn of the bot that is asked; between both its own run answers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn(name=steps.OPEN_CONSULTATION.name)
    async def open_consultation(self, at: CallRef) -> Consultation:
        """Store the question, once; a call that cannot be made ends here."""
        async with transaction(self._engine) as connection:
            question = await turns.question(connection, at.ref)
            offered = await offers_of(connection, at.ref, question.configuration.tools)
            read = read_call(offered, await tool_calls.call(connection, at))
            claim = await tool_calls.claim_call(connection, at, this_writer(), repeatable=True)
            if isinstance(claim, CallEnded):
                return Consultation()
            turn, refused = None, _NOBODY
            if isinstance(read, Refusal):
                refused = read.message
            elif await consultations.depth_of(connection, at.ref.turn_id) >= CONSULTATIONS_DEEP:
                refused = _TOO_DEEP
            else:
                tool, arguments = read
                assert isinstance(tool, AskBot)  # noqa: S101  (of this step)
                assert isinstance(arguments, AskArguments)  # noqa: S101  (of this tool)
                name = call_id(at.ref.turn_id, at.step, at.number)
                turn = await consultations.open_turn(connection, at.ref, name, tool.bot_id, arguments.question)
            if turn is None:
                await tool_calls.end_call(
                    connection, at, claim, Outcome(CallStatus.FAILED, refused, code="bot_unavailable")
                )
            return Consultation(turn=turn)

    @activity.defn(name=steps.CLOSE_CONSULTATION.name)
    async def close_consultation(self, at: CallRef) -> CallEnded:
        """Take the other bot's answer; `running` where there is none yet."""
        async with transaction(self._engine) as connection:
            is_over, answer = await consultations.ended(connection, call_id(at.ref.turn_id, at.step, at.number))
            if not is_over:
                return CallEnded(status=CallStatus.RUNNING)
            return await tool_calls.settle_call(connection, at, _outcome(answer))


def _outcome(answer: Message | None) -> Outcome:
    if answer is None or answer.status is MessageStatus.FAILED:
        why = answer.error.message if answer is not None and answer.error is not None else "Its turn was deleted."
        return Outcome(CallStatus.FAILED, f"The other bot could not answer. {why}", code="bot_failed")
    if answer.status is MessageStatus.PARTIAL:
        return Outcome(CallStatus.FAILED, "The other bot was stopped before it had answered.", code="bot_failed")
    markers = MarkerFilter(set())  # they number passages that are not this turn's
    sources = sorted({_source(each.document_name, each.page) for each in answer.citations})
    rests = f"\n(It rests on: {'; '.join(sources)})" if sources else ""
    return Outcome(CallStatus.COMPLETE, cut(markers.feed(answer.content) + markers.finish() + rests))


def _source(document: str, page: int | None) -> str:
    return document if page is None else f"{document}, page {page}"
