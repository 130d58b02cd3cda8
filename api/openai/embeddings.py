"""Embeddings of the deployment's model: the same vectors as those that documents are found by."""

import base64
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter

from adapters.postgres.engine import transaction
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Writer
from api.idempotency import OnceDep
from api.openai.errors import ModelNotFound, responses
from api.openai.schemas.embeddings import Embedded, Embedding, EmbeddingsBody, EmbeddingUsage
from domain.conversation import estimate_tokens
from domain.errors import InvalidRequest
from domain.ports import Embeddings, Vectors

router = APIRouter(prefix="/embeddings", tags=["OpenAI"])


@router.post("", summary="Embed texts", responses=responses(404, 409, 413, 429, 502))
async def create_embeddings(body: EmbeddingsBody, user: Writer, adapters: AdaptersDep, once: OnceDep) -> Embedded:
    """Embed texts by the model that documents are embedded by."""
    _check(adapters, body)
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
    made = await _embed(adapters, body.input)
    tokens = made.tokens or sum(estimate_tokens(text) for text in body.input)
    shown = Embedded(
        data=[
            Embedding(index=index, embedding=_written(vector, body.encoding_format))
            for index, vector in enumerate(made.vectors)
        ],
        model=adapters.embedder.model,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )
    async with transaction(adapters.engine) as connection:
        return await once.keep(connection, user.id, 200, shown)


def _check(adapters: Adapters, body: EmbeddingsBody) -> None:
    model, width = adapters.embedder.model, adapters.embedder.width
    if body.model not in (model, model.rpartition("/")[2]):
        raise ModelNotFound(f"This server embeds by {model}, and by no other model.", param="model")
    if body.dimensions not in (None, width):
        raise InvalidRequest(f"The vectors of this server have {width} dimensions.", param="dimensions")


async def _embed(adapters: Adapters, texts: Sequence[str]) -> Embeddings:
    """Embed batch by batch, in the order of the texts."""
    size = adapters.embedder.batch_size
    made = [
        await adapters.embedder.embed_documents(texts[start : start + size]) for start in range(0, len(texts), size)
    ]
    return Embeddings(np.concatenate([each.vectors for each in made]), sum(each.tokens for each in made))


def _written(vector: Vectors, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
