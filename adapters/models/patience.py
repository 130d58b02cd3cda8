"""How long a provider's connection may take, and each wait for its next word."""

from datetime import timedelta

import httpx2

_CONNECT = 5.0  # a host that does not take a connection by then is away, and the bot's next model may answer


def patience(timeout: timedelta) -> httpx2.Timeout:
    """Wait `timeout` for every word, and no longer than five seconds for the connection."""
    seconds = timeout.total_seconds()
    return httpx2.Timeout(seconds, connect=min(_CONNECT, seconds))
