"""The ids of tool calls, which a bot's next model is told as the one before gave them."""

from hashlib import sha256
from re import Pattern


def fitting(call_id: str, taken: Pattern[str]) -> str:
    """Give the id where the provider takes such; else one of ours, the same each time, that every provider takes."""
    return call_id if taken.fullmatch(call_id) else f"call_{sha256(call_id.encode()).hexdigest()[:32]}"
