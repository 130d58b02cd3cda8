"""A question that comes with its conversation, or goes on with one: stored, and its turn started."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
from adapters.postgres import conversations, transcripts, turn_requests
from adapters.postgres.engine import transaction
from adapters.wiring import Adapters
from api.idempotency import OnceDep
from api.openai.attempts import AttemptDep
from api.openai.models import bot_of
from api.turn_start import start_soon
from domain.bots import TurnOptions
from domain.conversation import After, Origin, Place, Role
from domain.errors import InvalidRequest, NotFound, TurnInProgress
from domain.ids import BotId, ConversationId, MessageId, TurnId, UserId
from domain.transcripts import exchanges, title_of


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks, in our own words. It goes on after a turn, with a conversation, or begins one."""

    model: str | None
    content: str
    origin: Origin
    said: Sequence[tuple[Role, str]] = ()  # before it, oldest first
    options: TurnOptions = field(default_factory=TurnOptions)
    conversation: ConversationId | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """The turn that answers a question, and whether it was there already."""

    turn_id: TurnId
    replayed: bool


class Repetition:
    """How a request is told from another: by its key; without one, by the attempts that its client numbers."""

    def __init__(self, once: OnceDep, attempt: AttemptDep) -> None:
        self._once = once
        self._attempt = attempt

    async def turn_of(
        self, connection: AsyncConnection, owner: UserId, turn_id: TurnId, question: Question
    ) -> TurnId | None:
        """Give the turn that answers the request already, if any; else `turn_id` is to."""
        if self._once.key is not None:
            return await self._once.claim_turn(connection, owner, turn_id)
        # At the end of a conversation the same words again may be another question, once the first is answered.
        at_the_end = question.conversation is not None
        return await self._attempt.turn_of(connection, owner, open_only=at_the_end)

    async def leave(self, connection: AsyncConnection, owner: UserId, turn_id: TurnId) -> None:
        """Leave the turn for attempts to come; last in the transaction."""
        if self._once.key is None:
            await self._attempt.leave(connection, owner, turn_id)


RepetitionDep = Annotated[Repetition, Depends()]


async def ask(adapters: Adapters, owner: UserId, repetition: Repetition, question: Question) -> Taken:
    """Store a question, and start its run. The same key, or another attempt at the same request, gives the same turn."""
    turn_id = TurnId(new_id())
    async with transaction(adapters.engine) as connection:
        earlier = await repetition.turn_of(connection, owner, turn_id, question)
        if earlier is not None:
            await turn_requests.read(connection, owner, earlier)
            return Taken(earlier, replayed=True)
        conversation, after = await _place(connection, owner, question)
        ref = await turn_requests.accept(
            connection,
            owner,
            conversation,
            turn_id=turn_id,
            question_id=MessageId(new_id()),
            content=question.content,
            after=after,
            options=question.options,
        )
        await repetition.leave(connection, owner, turn_id)
    start_soon(adapters.temporal, ref)
    return Taken(turn_id, replayed=False)


async def _place(connection: AsyncConnection, owner: UserId, question: Question) -> tuple[ConversationId, After]:
    """Find or begin the conversation, and the message that the question follows."""
    if question.options.previous_turn_id is not None:
        return await _after_turn(connection, owner, question, question.options.previous_turn_id)
    if question.conversation is not None:
        row = await conversations.read(connection, owner, question.conversation)
        await _check_bot(connection, owner, question, BotId(row.bot_id))
        return question.conversation, Place.END
    bot = await bot_of(connection, owner, question.model or "")
    conversation = ConversationId(new_id())
    told = exchanges(question.said, mint=new_id)
    title = title_of(question.content)
    await transcripts.add(connection, owner, bot, conversation, told, origin=question.origin, title=title)
    return conversation, Place.END


async def _after_turn(
    connection: AsyncConnection, owner: UserId, question: Question, previous: TurnId
) -> tuple[ConversationId, After]:
    try:
        view = await turn_requests.read(connection, owner, previous)
    except NotFound:
        raise NotFound("You have no response of this id.", param="previous_response_id") from None
    await _check_bot(connection, owner, question, BotId(view.row.bot_id))
    if view.answer is None:
        raise TurnInProgress(
            "The previous response is still being written. Wait for its end, or cancel it.",
            param="previous_response_id",
            details={"turn_id": str(previous)},
        )
    return ConversationId(view.row.conversation_id), view.answer.id


async def _check_bot(connection: AsyncConnection, owner: UserId, question: Question, bot: BotId) -> None:
    if question.model is not None and await bot_of(connection, owner, question.model) != bot:
        raise InvalidRequest("The conversation is another bot's. Leave the model out, or name that bot.", param="model")
