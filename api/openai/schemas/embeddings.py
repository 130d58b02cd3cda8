"""Embeddings: texts as vectors of the deployment's model."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.openai.schemas.base import Asked, Content, Shown, example_of

MOST_TEXTS = 2048
LONGEST_TEXT = 32_000


def _as_texts(value: object) -> object:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and texts and isinstance(texts[0], int | list):
        raise PydanticCustomError("not_supported", "Send texts; this server has no tokenizer of another's model.")
    return texts


Text = Annotated[Content, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]


class EmbeddingsBody(Asked):
    """Texts to embed."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "local/all-MiniLM-L6-v2", "input": ["How much leave do I have?"]}}
    )

    model: Annotated[str, Field(min_length=1, max_length=200, description="The deployment's embedding model.")]
    input: Annotated[
        list[Text],
        BeforeValidator(_as_texts),
        Field(min_length=1, max_length=MOST_TEXTS, description="A text, or a list of texts."),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int | None, Field(ge=1, description="The model's own, or left out.")] = None


class Embedding(Shown):
    """A vector of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Annotated[list[float] | str, Field(description="As base64: float32, little-endian.")]


class EmbeddingUsage(Shown):
    """Tokens as the provider counted them, or as they are estimated where it does not count."""

    prompt_tokens: int
    total_tokens: int


class Embedded(Shown):
    """Vectors in the order of the texts."""

    model_config = example_of(
        object="list",
        data=[{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}],
        model="local/all-MiniLM-L6-v2",
        usage={"prompt_tokens": 7, "total_tokens": 7},
    )

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
