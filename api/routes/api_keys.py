"""API keys. Only someone who has logged in makes, sees and deletes them."""

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Row

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import api_keys
from api.dependencies import Person, TransactionDep
from api.errors import responses
from api.idempotency import OnceDep
from api.pagination import ListingDep
from api.schemas.accounts import ApiKey, CreatedApiKey, NewApiKey
from api.schemas.base import ListOf
from api.security import digest, new_api_key
from domain.errors import InvalidRequest, NotFound
from domain.ids import ApiKeyId

router = APIRouter(prefix="/api-keys", tags=["Accounts"])


@router.post("", status_code=201, summary="Make an API key", responses=responses(400, 401, 403, 409))
async def create_api_key(body: NewApiKey, user: Person, connection: TransactionDep, once: OnceDep) -> CreatedApiKey:
    """Make a key. Its secret is in this answer and nowhere else."""
    await once.claim(connection, user.id)
    if body.expires_at is not None and body.expires_at <= now():
        raise InvalidRequest("The key would be expired already; choose a time to come.", param="expires_at")
    prefix, secret = new_api_key()
    row = await api_keys.add(
        connection,
        {
            "id": new_id(),
            "user_id": user.id,
            "name": body.name,
            "prefix": prefix,
            "secret_hash": digest(secret),
            "scopes": sorted(body.scopes),
            "expires_at": body.expires_at,
        },
    )
    return await once.keep(connection, user.id, 201, CreatedApiKey(**_render(row).model_dump(), key=secret))


@router.get("", summary="List API keys", responses=responses(401, 403))
async def list_api_keys(user: Person, connection: TransactionDep, listing: ListingDep) -> ListOf[ApiKey]:
    """List your keys, without their secrets."""
    bound = listing.of("api_keys", user.id)
    rows = await api_keys.page(connection, user.id, bound.window)
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=_render)


@router.delete("/{api_key_id}", status_code=204, summary="Delete an API key", responses=responses(401, 403, 404))
async def delete_api_key(api_key_id: UUID, user: Person, connection: TransactionDep) -> None:
    """Delete a key; it stops working at once."""
    if not await api_keys.remove(connection, user.id, ApiKeyId(api_key_id)):
        raise NotFound("You have no API key of this id.")


def _render(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=f"cs_{row.prefix}",
        scopes=row.scopes,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )
