"""What can go wrong with Anthropic, in the domain's words. No provider's text and no prompt gets through."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import anthropic
import httpx2

from adapters.clock import now
from adapters.models.pauses import pause_of
from domain.errors import (
    ProviderAuth,
    ProviderError,
    ProviderInputRefused,
    ProviderMalformed,
    ProviderModelMissing,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejected,
    ProviderSilent,
    SafetyBlocked,
)

WHO = "Anthropic"
SETTING = "CHATSPHERE_ANTHROPIC_GENERATION_MODEL"
_KEY_SETTING = "CHATSPHERE_ANTHROPIC_API_KEY"
_SPENT = ("spend_limit_reached", "billing", "credit")  # in the code of an error's cause
_EMPTY = "credit balance"  # in the text of a 400 that tells its cause in no other way; the text is never shown
_PASSING = frozenset({408, 409})
# Inside a stream an error has a type and the status of the stream's beginning, which is 200.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Credit does not come back by the clock: asked after once an hour, since somebody may pay meanwhile.
_UNTIL_PAID = timedelta(hours=1)


@contextmanager
def anthropic_errors(*, model: str) -> Iterator[None]:
    """Translate whatever the client raises for a call of `model`.

    Causes are cut off (`from None`): their texts hold the provider's answer or the prompt.
    """
    try:
        yield
    except anthropic.APIStatusError as error:
        raise _refusal(error, model=model) from None
    except (anthropic.APITimeoutError, httpx2.TimeoutException, TimeoutError):
        raise ProviderSilent(f"{WHO} did not answer in time ({model}).") from None
    except (anthropic.APIConnectionError, httpx2.HTTPError):
        raise ProviderError(f"The connection to Anthropic failed ({model}).") from None
    except (anthropic.AnthropicError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        # Answers are not validated by the client: a field of another type is stumbled over where it is read.
        raise ProviderMalformed(f"{WHO}'s answer was not in its documented format ({model}).") from None


def declined(reason: str, model: str) -> ProviderError:
    """Name an answer that ended for a reason that is neither its end nor the token limit."""
    if reason == "refusal":
        return SafetyBlocked(f"{WHO} declined to answer ({model}). Put the question in other words.")
    if reason == "model_context_window_exceeded":
        return ProviderInputRefused(f"The prompt and the answer are longer than {model} takes. Ask in fewer words.")
    return ProviderError(f"{WHO} broke its answer off ({model}).")


def _refusal(error: anthropic.APIStatusError, *, model: str) -> ProviderError:
    status = error.status_code if error.status_code >= 400 else _STATUS.get(error.type or "", 500)
    if status == 402 or _is_unpaid(error, status):
        return ProviderQuotaExhausted(
            f"The account's credit for {model} is used up, or its spend limit reached. Add credit or raise the limit; "
            "what waits then goes on by itself within the hour.",
            retry_after=_UNTIL_PAID,
        )
    if status in (401, 403):
        return ProviderAuth(
            f"{WHO} refused the key ({status}). Set {_KEY_SETTING} to a valid key whose workspace may use {model}, "
            "restart, then retry."
        )
    pause = pause_of(error.response.headers, now=now())
    if status == 429:
        return ProviderRateLimited(f"{WHO} asks for a pause (429, {model}).", retry_after=pause)
    if 400 <= status < 500 and status not in _PASSING:
        return _rejection(status, model=model)
    return ProviderError(f"{WHO} failed ({status}, {model}).", retry_after=pause)


def _is_unpaid(error: anthropic.APIStatusError, status: int) -> bool:
    if any(mark in (error.error_code or "") for mark in _SPENT):
        return True
    return status == 400 and _EMPTY in str(error.api_message).lower()


def _rejection(status: int, *, model: str) -> ProviderRejected:
    if status == 404:
        return ProviderModelMissing(
            f"{WHO} has no model named {model} (404). Set {SETTING}, or the bot's model, to one that it has, then retry."
        )
    told = (
        f"{WHO} refused the request as it stands ({status}, {model}). Check that {SETTING} names a model that your "
        "account may use, then retry."
    )
    return ProviderInputRefused(told) if status in (400, 413, 422) else ProviderRejected(told)
