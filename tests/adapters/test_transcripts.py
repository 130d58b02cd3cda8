"""A conversation that began elsewhere has its history when its question is put."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.ids import new_id
from adapters.postgres import messages, transcripts
from adapters.postgres.paging import Order, Window
from adapters.postgres.tables import turns
from domain.conversation import Origin, Role
from domain.ids import ConversationId
from domain.transcripts import exchanges
from tests.builders import a_bot

SAID = [(Role.ASSISTANT, "Hello."), (Role.USER, "One?"), (Role.ASSISTANT, "1."), (Role.USER, "Two?")]


async def test_what_was_said_is_stored_in_its_order_with_turns_that_are_over(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    conversation = ConversationId(new_id())
    async with engine.begin() as connection:
        told = exchanges(SAID, mint=new_id)
        await transcripts.add(connection, owner, bot, conversation, told, origin=Origin.CHAT_COMPLETIONS, title="One")
        listed = await messages.page(connection, conversation, Window(limit=10, order=Order.ASC))
        states = (await connection.execute(select(turns.c.status))).scalars().all()
    assert [(at, message.role, message.content) for at, message in listed] == [
        (at, role, content) for at, (role, content) in enumerate(SAID, start=1)
    ]
    assert states == ["complete"] * 3


async def test_a_conversation_may_begin_with_nothing(engine: AsyncEngine) -> None:
    owner, bot = await a_bot(engine)
    conversation = ConversationId(new_id())
    async with engine.begin() as connection:
        await transcripts.add(connection, owner, bot, conversation, [], origin=Origin.RESPONSES, title="One")
        assert await messages.page(connection, conversation, Window(limit=10)) == []
