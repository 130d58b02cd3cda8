"""What routes ask for: the open adapters, a transaction, the caller."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, OAuth2PasswordBearer, SecurityScopes
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.postgres import accounts, api_keys
from adapters.postgres.engine import reading, transaction
from adapters.settings import Settings
from adapters.wiring import Adapters
from api.security import Principal, Scope, bad_credential, digest, is_api_key, read_access_token
from domain.errors import PermissionDenied, TokenExpired
from domain.ids import ApiKeyId, UserId

_password_flow = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token",
    refreshUrl="/api/v1/auth/refresh",
    scheme_name="AccessToken",
    description="An access token of POST /api/v1/auth/token.",
    auto_error=False,
)
_bearer = HTTPBearer(
    scheme_name="ApiKey", bearerFormat="cs_…", description="An API key as Bearer token.", auto_error=False
)


def _adapters(request: Request) -> Adapters:
    adapters: Adapters = request.app.state.adapters
    return adapters


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


AdaptersDep = Annotated[Adapters, Depends(_adapters)]
SettingsDep = Annotated[Settings, Depends(_settings)]


async def _transaction(adapters: AdaptersDep) -> AsyncIterator[AsyncConnection]:
    async with transaction(adapters.engine) as connection:
        yield connection


# `function` scope: committed when the route has returned, before a byte of the answer is sent.
TransactionDep = Annotated[AsyncConnection, Depends(_transaction, scope="function")]
"""For a route whose whole effect is one transaction. One that goes on after its commit opens
`adapters.postgres.engine.transaction` itself."""


async def _authenticate(
    scopes: SecurityScopes,
    adapters: AdaptersDep,
    _token: Annotated[str | None, Depends(_password_flow)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    if bearer is None:
        raise bad_credential()
    principal = await identify(adapters, bearer.credentials)
    if not principal.scopes.issuperset(scopes.scopes):
        raise PermissionDenied(f"This API key lacks the scope {' '.join(scopes.scopes)}.")
    return principal


async def identify(adapters: Adapters, credential: str) -> Principal:
    """Find out whose credential it is. Raises `Unauthenticated` kinds."""
    async with reading(adapters.engine) as connection:
        if is_api_key(credential):
            return await _by_api_key(connection, credential)
        user = read_access_token(credential, secret=adapters.settings.secret_key.get_secret_value())
        if not await accounts.exists(connection, user):
            raise bad_credential()
    return Principal(id=user, scopes=frozenset(Scope))


async def _by_api_key(connection: AsyncConnection, credential: str) -> Principal:
    moment = now()
    key = await api_keys.find_by_secret(connection, digest(credential))
    if key is None:
        raise bad_credential()
    if key.expires_at is not None and key.expires_at <= moment:
        raise TokenExpired("The API key has expired. Make a new one at /api/v1/api-keys.")
    if key.last_used_at is None or key.last_used_at < moment - timedelta(minutes=1):
        await api_keys.touch(connection, ApiKeyId(key.id), now=moment)
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    return Principal(id=UserId(key.user_id), scopes=scopes, api_key=ApiKeyId(key.id))


Reader = Annotated[Principal, Security(_authenticate, scopes=[Scope.READ])]
"""Any credential that may read."""

Writer = Annotated[Principal, Security(_authenticate, scopes=[Scope.WRITE])]
"""Any credential that may write."""


async def _person(principal: Writer) -> Principal:
    if principal.api_key is not None:
        raise PermissionDenied("API keys cannot do this; log in and use an access token.")
    return principal


Person = Annotated[Principal, Depends(_person)]
"""Someone who has logged in: an API key must not make or delete keys."""
