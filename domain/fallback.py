"""When a bot's next model answers in place of one that cannot, and which failure is told where none can."""

from collections.abc import Sequence
from datetime import timedelta

from domain.errors import (
    ProviderAuth,
    ProviderError,
    ProviderModelMissing,
    ProviderNotConfigured,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejected,
    ProviderSilent,
    SafetyBlocked,
)

# A reader waits this long for the model that the bot prefers; a longer pause is for the next one to fill.
_SHORT_PAUSE = timedelta(seconds=5)

LATER = 2
"""The attempt from which on a provider that is down gives way."""

REST = timedelta(seconds=30)
"""How long a model that gave way is asked last."""

# No attempt mends these, and another provider has none of it; a silence has cost its minute already.
_AT_ONCE = (ProviderAuth, ProviderModelMissing, ProviderNotConfigured, ProviderQuotaExhausted, ProviderSilent)
# The request's own faults, and what a provider does not want to say: another one is not asked to.
_NEVER = (ProviderRejected, SafetyBlocked)


def gives_way(error: ProviderError, *, attempt: int) -> bool:
    """Tell whether the next model is to answer; a provider that is down is asked a second time first."""
    if isinstance(error, _AT_ONCE):
        return True
    if isinstance(error, _NEVER):
        return False
    if isinstance(error, ProviderRateLimited) and error.retry_after is not None and error.retry_after > _SHORT_PAUSE:
        return True
    return attempt >= LATER


def to_tell(errors: Sequence[ProviderError], *, patience: timedelta | None) -> ProviderError:
    """Choose among the failures of all models: the last one after which trying again may help, else the last."""
    hopeful = [error for error in errors if error.retryable and not _is_too_long(error.retry_after, patience)]
    return (hopeful or errors)[-1]


def _is_too_long(pause: timedelta | None, patience: timedelta | None) -> bool:
    return pause is not None and patience is not None and pause > patience
