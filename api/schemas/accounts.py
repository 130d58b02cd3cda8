"""Users, tokens and API keys on the wire."""

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.schemas.base import Answer, Body, Name
from api.security import Scope

# One @, something on both sides, a dot in the domain: the rest only a delivery can tell.
_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise PydanticCustomError("email", "This is not an e-mail address.")
    return value.lower()


Email = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(_address),
    Field(examples=["ada@example.com"]),
]  # fmt: skip
Password = Annotated[str, Field(min_length=8, max_length=200, examples=["correct horse battery"])]


class Register(Body):
    """A new account."""

    email: Email
    password: Password
    username: Name | None = None
    first_name: Name | None = None
    last_name: Name | None = None
    company_name: Name | None = None


class ChangeProfile(Body):
    """What is given is changed, null clears."""

    model_config = ConfigDict(json_schema_extra={"example": {"company_name": "Analytical Engines"}})

    username: Name | None = None
    first_name: Name | None = None
    last_name: Name | None = None
    company_name: Name | None = None


class User(Answer):
    """An account."""

    id: UUID
    email: Annotated[str, Field(examples=["ada@example.com"])]
    username: str | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    role: Annotated[str, Field(examples=["owner"])]
    plan: Annotated[str, Field(examples=["free"])]
    created_at: datetime
    updated_at: datetime


class Usage(Answer):
    """What the account holds and has spent so far."""

    bots: int
    documents: int
    stored_bytes: Annotated[int, Field(description="Of the documents' newest versions.")]
    messages: int
    model_tokens: Annotated[int, Field(description="Input and output tokens of answers, input tokens of documents.")]


class Me(User):
    """The caller's account and usage."""

    usage: Usage


class Tokens(Answer):
    """An access token, and a refresh token that works once."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: Annotated[int, Field(description="Seconds that the access token lives.", examples=[1800])]


class Refresh(Body):
    """A refresh token."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=200)]


class NewApiKey(Body):
    """A key for programs."""

    name: Annotated[Name, Field(examples=["website"])]
    scopes: Annotated[frozenset[Scope], Field(min_length=1, description="Default: both.")] = frozenset(Scope)
    expires_at: Annotated[AwareDatetime | None, Field(description="Default: never.")] = None


class ApiKey(Answer):
    """A key without its secret."""

    id: UUID
    name: str
    prefix: Annotated[str, Field(examples=["cs_1f0c92ab"], description="The key begins so.")]
    scopes: list[Scope]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class CreatedApiKey(ApiKey):
    """A key with its secret, which is shown this once."""

    key: Annotated[str, Field(examples=["cs_1f0c92ab_…"])]
