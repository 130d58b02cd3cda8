"""A chain of LangChain's, with its own OpenAI model, on the door."""

from collections.abc import AsyncIterator

import pytest_asyncio
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import SecretStr

from adapters.wiring import Adapters
from domain.ids import BotId
from tests.api.openai.conftest import ANSWER, QUESTION
from tests.api.turn_service import answering

PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer about {product}."), MessagesPlaceholder("history"), ("human", "{question}")]
)
GIVEN = {
    "product": "radios",
    "question": QUESTION,
    "history": [HumanMessage("Is there a warranty?"), AIMessage("There is.")],
}


@pytest_asyncio.fixture
async def web() -> AsyncIterator[DefaultAsyncHttpxClient]:
    async with DefaultAsyncHttpxClient(trust_env=False) as client:
        yield client


def model_of(client: AsyncOpenAI, web: DefaultAsyncHttpxClient, bot: BotId, *, responses: bool = False) -> ChatOpenAI:
    return ChatOpenAI(
        model=str(bot),
        base_url=str(client.base_url),
        api_key=SecretStr(client.api_key),
        http_async_client=web,
        stream_usage=True,
        use_responses_api=responses,
        max_retries=0,
    )


async def test_a_chain_is_invoked_and_its_prompt_is_the_turns(
    client_of_openai: AsyncOpenAI, web: DefaultAsyncHttpxClient, adapters: Adapters, bot: BotId
) -> None:
    chain = PROMPT | model_of(client_of_openai, web, bot) | StrOutputParser()
    async with answering(adapters, [ANSWER]) as generator:
        assert await chain.ainvoke(GIVEN) == ANSWER
    (request,) = generator.requests
    assert (request.question, request.instructions) == (QUESTION, "Answer about radios.")
    assert [each.content for each in request.history] == ["Is there a warranty?", "There is."]


async def test_a_chain_streams_and_counts(
    client_of_openai: AsyncOpenAI, web: DefaultAsyncHttpxClient, adapters: Adapters, bot: BotId
) -> None:
    chain = PROMPT | model_of(client_of_openai, web, bot)
    async with answering(adapters, ['It says "The warranty', ' lasts two years" [1].']):
        pieces = [piece async for piece in chain.astream(GIVEN)]
    assert "".join(str(piece.content) for piece in pieces) == ANSWER
    (usage,) = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    assert usage["total_tokens"] == 18


async def test_a_chain_on_responses_has_its_citations(
    client_of_openai: AsyncOpenAI, web: DefaultAsyncHttpxClient, adapters: Adapters, bot: BotId
) -> None:
    chain = PROMPT | model_of(client_of_openai, web, bot, responses=True)
    async with answering(adapters, [ANSWER]):
        answer = await chain.ainvoke(GIVEN)
        streamed = [piece async for piece in chain.astream(GIVEN)]
    assert answer.text == ANSWER == "".join(piece.text for piece in streamed)
    block = answer.content[0]
    assert isinstance(block, dict)
    assert block["annotations"][0]["filename"] == "terms.pdf"


async def test_texts_are_embedded(client_of_openai: AsyncOpenAI, web: DefaultAsyncHttpxClient) -> None:
    embeddings = OpenAIEmbeddings(
        model="fake/words",
        openai_api_base=str(client_of_openai.base_url),
        openai_api_key=SecretStr(client_of_openai.api_key),
        http_async_client=web,
        check_embedding_ctx_length=False,  # else it sends tokens of OpenAI's
    )
    vectors = await embeddings.aembed_documents(["One text.", "Another one."])
    assert [len(vector) for vector in vectors] == [768, 768]
