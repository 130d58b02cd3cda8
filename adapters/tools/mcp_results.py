"""What became of a call of a server's tool."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Called:
    """What a tool gave, as text; `failed` as the server says."""

    text: str
    failed: bool


class NotCalled(Exception):
    """The call did not reach the server."""
