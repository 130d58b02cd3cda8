"""Credentials: passwords by argon2, access tokens by JWT, refresh tokens and API keys by their SHA-256."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import jwt
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from domain.errors import TokenExpired, Unauthenticated
from domain.ids import ApiKeyId, UserId

_ALGORITHM = "HS256"
_ISSUER = "chatsphere"
_KEY_MARK = "cs_"

_passwords = PasswordHash((Argon2Hasher(),))
# Checked where the address is unknown, so that the time of an answer does not tell.
_nobody = _passwords.hash(secrets.token_urlsafe(16))
# argon2 takes 64 MiB a call: a burst of logins must not take the machine.
_slots = asyncio.Semaphore(4)


class Scope(StrEnum):
    """What a credential may do."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and by which credential."""

    id: UserId
    scopes: frozenset[Scope]
    api_key: ApiKeyId | None = None


async def hash_password(password: str) -> str:
    """Hash off the event loop."""
    async with _slots:
        return await asyncio.to_thread(_passwords.hash, password)


async def verify_password(password: str, stored: str | None) -> bool:
    """Verify off the event loop; takes as long where there is no such user."""
    async with _slots:
        matches = await asyncio.to_thread(_passwords.verify, password, stored or _nobody)
    return matches and stored is not None


def issue_access_token(user: UserId, *, secret: str, now: datetime, lifetime: timedelta) -> str:
    """Sign a token that names the user."""
    claims = {"iss": _ISSUER, "sub": str(user), "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, _signing_key(secret), algorithm=_ALGORITHM)


def read_access_token(token: str, *, secret: str) -> UserId:
    """Give the user of a token. Raises `TokenExpired` or `Unauthenticated`."""
    try:
        claims = jwt.decode(
            token,
            _signing_key(secret),
            algorithms=[_ALGORITHM],
            issuer=_ISSUER,
            options={"require": ["exp", "iat", "sub", "iss"]},
        )
        return UserId(UUID(claims["sub"]))
    except jwt.ExpiredSignatureError as error:
        raise TokenExpired("The access token has expired. Get a new one at /api/v1/auth/refresh.") from error
    except (jwt.InvalidTokenError, ValueError) as error:
        raise bad_credential() from error


def bad_credential() -> Unauthenticated:
    """Say no more than that it does not hold."""
    return Unauthenticated("The credential is missing or wrong. Send a valid access token or API key as Bearer.")


def new_refresh_token() -> str:
    """Roll a token; only its hash is stored."""
    return secrets.token_urlsafe(32)


def new_api_key() -> tuple[str, str]:
    """Roll a key; give its prefix, by which a person knows it, and the whole."""
    prefix = secrets.token_hex(4)
    return prefix, f"{_KEY_MARK}{prefix}_{secrets.token_urlsafe(32)}"


def is_api_key(credential: str) -> bool:
    """Tell a key from a token by its mark."""
    return credential.startswith(_KEY_MARK)


def digest(secret: str) -> bytes:
    """Hash a secret of full entropy; those need no salt and no slowness."""
    return hashlib.sha256(secret.encode()).digest()


def _signing_key(secret: str) -> bytes:
    return hashlib.sha256(b"access-token" + secret.encode()).digest()
