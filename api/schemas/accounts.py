"""Users, tokens and API keys on the wire."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.schemas.base import Answer, Body, Name
from api.security import Scope
from domain.moments import Moment

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


_REGISTER: dict[str, Any] = {"email": "ada@example.com", "password": "correct horse battery", "first_name": "Ada"}


class Register(Body):
    """A new account."""

    model_config = ConfigDict(json_schema_extra={"example": _REGISTER})

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


_USER: dict[str, Any] = {
    "id": "0199f0c4-0001-7b6c-8a51-6d2f0e9c7b11",
    "email": "ada@example.com",
    "username": None,
    "first_name": "Ada",
    "last_name": "Lovelace",
    "company_name": "Analytical Engines",
    "role": "owner",
    "plan": "free",
    "created_at": "2026-11-21T12:00:00Z",
    "updated_at": "2026-11-21T12:00:00Z",
}


class User(Answer):
    """An account."""

    model_config = ConfigDict(json_schema_extra={"example": _USER})

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


class AccountUsage(Answer):
    """What the account holds and has spent so far."""

    bots: int
    documents: int
    stored_bytes: Annotated[int, Field(description="Of the documents' newest versions.")]
    messages: int
    model_tokens: Annotated[int, Field(description="Input and output tokens of answers, input tokens of documents.")]


_ME: dict[str, Any] = {
    **_USER,
    "usage": {"bots": 2, "documents": 14, "stored_bytes": 7340032, "messages": 120, "model_tokens": 98000},
}


class Me(User):
    """The caller's account and usage."""

    model_config = ConfigDict(json_schema_extra={"example": _ME})

    usage: AccountUsage


_TOKENS: dict[str, Any] = {"access_token": "eyJ…", "refresh_token": "rt_…", "token_type": "bearer", "expires_in": 1800}


class Tokens(Answer):
    """An access token, and a refresh token that works once."""

    model_config = ConfigDict(json_schema_extra={"example": _TOKENS})

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  (no secret, a kind)
    expires_in: Annotated[int, Field(description="Seconds that the access token lives.", examples=[1800])]


_REFRESH: dict[str, Any] = {"refresh_token": "rt_…"}


class Refresh(Body):
    """A refresh token."""

    model_config = ConfigDict(json_schema_extra={"example": _REFRESH})

    refresh_token: Annotated[str, Field(min_length=1, max_length=200)]


_NEW_KEY: dict[str, Any] = {"name": "website", "scopes": ["read"], "expires_at": "2027-11-21T12:00:00Z"}


class NewApiKey(Body):
    """A key for programs."""

    model_config = ConfigDict(json_schema_extra={"example": _NEW_KEY})

    name: Annotated[Name, Field(examples=["website"])]
    scopes: Annotated[frozenset[Scope], Field(min_length=1, description="Default: both.")] = frozenset(Scope)
    expires_at: Annotated[Moment | None, Field(description="Default: never.")] = None


_KEY: dict[str, Any] = {
    "id": "0199f0c4-0002-7b6c-8a51-6d2f0e9c7b11",
    "name": "website",
    "prefix": "cs_1f0c92ab",
    "scopes": ["read"],
    "expires_at": "2027-11-21T12:00:00Z",
    "last_used_at": None,
    "created_at": "2026-11-21T12:00:00Z",
}


class ApiKey(Answer):
    """A key without its secret."""

    model_config = ConfigDict(json_schema_extra={"example": _KEY})

    id: UUID
    name: str
    prefix: Annotated[str, Field(examples=["cs_1f0c92ab"], description="The key begins so.")]
    scopes: list[Scope]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


_CREATED_KEY: dict[str, Any] = {**_KEY, "key": "cs_1f0c92ab_…"}


class CreatedApiKey(ApiKey):
    """A key with its secret, which is shown this once."""

    model_config = ConfigDict(json_schema_extra={"example": _CREATED_KEY})

    key: Annotated[str, Field(examples=["cs_1f0c92ab_…"])]
