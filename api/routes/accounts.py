"""Registration, tokens and the profile."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import accounts
from adapters.postgres.engine import transaction
from adapters.settings import Settings
from api.dependencies import AdaptersDep, Person, Reader, SettingsDep, TransactionDep
from api.errors import responses
from api.idempotency import OnceDep
from api.schemas.accounts import AccountUsage, ChangeProfile, Me, Refresh, Register, Tokens, User
from api.security import digest, hash_password, issue_access_token, new_refresh_token, verify_password
from domain.errors import AlreadyExists, TokenExpired, TokenReused, Unauthenticated
from domain.ids import UserId

router = APIRouter(tags=["Accounts"])


@router.post("/auth/register", status_code=201, summary="Make an account", responses=responses(400, 409))
async def register(body: Register, adapters: AdaptersDep, once: OnceDep) -> User:
    """Make an account; log in with `POST /auth/token`."""
    password_hash = await hash_password(body.password)
    row = body.model_dump(exclude={"password"}) | {"id": new_id(), "password_hash": password_hash}
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, None)
        user = await accounts.register(connection, row)
        if user is None:
            raise AlreadyExists("There is an account with this e-mail address. Log in instead.", param="email")
        return await once.keep(connection, None, 201, User(**_profile(user)))


_LOGIN: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "example": {"username": "ada@example.com", "password": "correct horse battery"}
            }
        }
    }
}


@router.post("/auth/token", summary="Log in", responses=responses(400, 401, 409), openapi_extra=_LOGIN)
async def create_token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
    adapters: AdaptersDep,
    settings: SettingsDep,
    once: OnceDep,
) -> Tokens:
    """Exchange an e-mail address (`username`) and a password for tokens. OAuth2's password form."""
    email = form.username.strip().lower().replace("\0", "")
    async with adapters.engine.connect() as connection:
        user = await accounts.find_by_email(connection, email)
    # No connection is held while the password is hashed.
    if not await verify_password(form.password[:1024], user.password_hash if user else None) or user is None:
        raise Unauthenticated("The e-mail address or the password is wrong.")
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, None)
        tokens = await _issue(connection, settings, UserId(user.id), family=new_id())
        return await once.keep(connection, None, 200, tokens)


@router.post("/auth/refresh", summary="Get new tokens", responses=responses(400, 401, 409))
async def refresh_token(body: Refresh, adapters: AdaptersDep, settings: SettingsDep, once: OnceDep) -> Tokens:
    """Spend a refresh token for new tokens. Spending one twice ends the login that it belongs to."""
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, None)
        tokens = await _rotate(connection, settings, body.refresh_token)
        if tokens is not None:
            return await once.keep(connection, None, 200, tokens)
    # Left regularly, so that the family's revocation is committed.
    raise TokenReused("This refresh token was used before, so its login has been ended. Log in again.")


@router.post("/auth/logout", status_code=204, summary="Log out", responses=responses(400, 409))
async def logout(body: Refresh, connection: TransactionDep, once: OnceDep) -> None:
    """End the login that a refresh token belongs to. Access tokens live on until they expire."""
    await once.claim(connection, None)
    token = await accounts.lock_refresh_token(connection, digest(body.refresh_token))
    if token is not None:
        await accounts.revoke_family(connection, token.family_id, now=now())
    await once.keep(connection, None, 204, None)


@router.get("/users/me", summary="See your account", responses=responses(401, 403))
async def get_me(user: Reader, connection: TransactionDep) -> Me:
    """See the profile, role, plan and usage so far."""
    return await _me(connection, await accounts.read(connection, user.id))


@router.patch("/users/me", summary="Change your profile", responses=responses(400, 401, 403))
async def update_me(body: ChangeProfile, user: Person, connection: TransactionDep) -> Me:
    """Change the fields that are given; null clears one."""
    return await _me(connection, await accounts.change(connection, user.id, body.model_dump(exclude_unset=True)))


async def _rotate(connection: AsyncConnection, settings: Settings, raw: str) -> Tokens | None:
    """Give new tokens, or None where the token was spent: then its family is revoked."""
    moment = now()
    token = await accounts.lock_refresh_token(connection, digest(raw))
    if token is None or token.revoked_at is not None:
        raise Unauthenticated("The refresh token is wrong or was revoked. Log in again.")
    if token.used_at is not None:
        await accounts.revoke_family(connection, token.family_id, now=moment)
        return None
    if token.expires_at <= moment:
        raise TokenExpired("The refresh token has expired. Log in again.")
    await accounts.spend_refresh_token(connection, token.id, now=moment)
    return await _issue(connection, settings, UserId(token.user_id), family=token.family_id)


async def _issue(connection: AsyncConnection, settings: Settings, user: UserId, *, family: UUID) -> Tokens:
    moment, raw = now(), new_refresh_token()
    await accounts.add_refresh_token(
        connection,
        {
            "id": new_id(),
            "user_id": user,
            "family_id": family,
            "token_hash": digest(raw),
            "expires_at": moment + settings.refresh_token_lifetime,
        },
    )
    lifetime = settings.access_token_lifetime
    secret = settings.secret_key.get_secret_value()
    return Tokens(
        access_token=issue_access_token(user, secret=secret, now=moment, lifetime=lifetime),
        refresh_token=raw,
        expires_in=int(lifetime.total_seconds()),
    )


def _profile(row: Row[tuple[object, ...]]) -> dict[str, object]:
    return {name: getattr(row, name) for name in User.model_fields}


async def _me(connection: AsyncConnection, row: Row[tuple[object, ...]]) -> Me:
    used = await accounts.usage(connection, UserId(row.id))
    return Me(**_profile(row), usage=AccountUsage(**used._mapping))
