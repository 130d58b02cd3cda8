"""Minting of ids."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Mint a UUIDv7: unique, and in the order of creation."""
    return uuid7()
