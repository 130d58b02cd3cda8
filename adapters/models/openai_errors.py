"""What can go wrong with an OpenAI-compatible server, in the domain's words. No provider's text gets through."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx2
import openai

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

WHO = "The openai provider"
_KEY_SETTING = "CHATSPHERE_OPENAI_API_KEY"
_SAFETY = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_OF_THE_SETTING = frozenset({"model", "dimensions", "encoding_format"})  # parameters that no text of a batch changes
_PASSING = frozenset({408, 409})
# Credit does not come back by the clock: asked after once an hour, since somebody may pay meanwhile.
_UNTIL_PAID = timedelta(hours=1)


@contextmanager
def openai_errors(*, model: str, setting: str) -> Iterator[None]:
    """Translate whatever the client raises for a call of `model`, which `setting` chose.

    Causes are cut off (`from None`): their texts hold the provider's answer or the prompt.
    """
    try:
        yield
    except openai.APIStatusError as error:
        raise _refusal(error, model=model, setting=setting) from None
    except (openai.APITimeoutError, httpx2.TimeoutException, TimeoutError):
        raise ProviderSilent(f"{WHO} did not answer in time ({model}).") from None
    except (openai.APIConnectionError, httpx2.HTTPError):
        raise ProviderError(f"The connection to the openai provider failed ({model}).") from None
    except openai.APIResponseValidationError:
        raise _malformed(model) from None
    except openai.APIError as error:  # inside a stream, which began well
        raise _midway(error, model=model) from None
    except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        # Answers are not validated by the client: a field of another type is stumbled over where it is read.
        raise _malformed(model) from None


def declined(reason: str, model: str) -> ProviderError:
    """Name an answer that ended for a reason that is neither its end nor the token limit."""
    if reason in _SAFETY or reason == "refusal":
        return SafetyBlocked(f"{WHO} declined to answer ({reason}, {model}). Put the question in other words.")
    return ProviderError(f"{WHO} broke its answer off ({model}).")


def _malformed(model: str) -> ProviderMalformed:
    return ProviderMalformed(f"{WHO}'s answer was not in its documented format ({model}).")


def _refusal(error: openai.APIStatusError, *, model: str, setting: str) -> ProviderError:
    status, code = error.status_code, error.code
    if code in _SAFETY:
        return SafetyBlocked(f"{WHO} refused the prompt ({model}). Put the question in other words.")
    if status in (401, 403):
        return ProviderAuth(
            f"{WHO} refused the key ({status}). Set {_KEY_SETTING} to a valid key whose project may use {model}, "
            "restart, then retry."
        )
    if status == 402 or code in _NO_CREDIT:
        return _no_credit(model)
    if status == 429:
        pause = pause_of(error.response.headers, now=now())
        return ProviderRateLimited(f"{WHO} asks for a pause (429, {model}).", retry_after=pause)
    if 400 <= status < 500 and status not in _PASSING:
        return _rejection(error, model=model, setting=setting)
    return ProviderError(f"{WHO} failed ({status}, {model}).", retry_after=pause_of(error.response.headers, now=now()))


def _rejection(error: openai.APIStatusError, *, model: str, setting: str) -> ProviderRejected:
    status = error.status_code
    if status == 404 or error.code == "model_not_found":
        return ProviderModelMissing(
            f"{WHO} has no model named {model} ({status}). Set {setting}, or the bot's model, to one that it has, "
            "then retry."
        )
    told = (
        f"{WHO} refused the request as it stands ({status}, {model}). Check that {setting} names a model for "
        "this purpose and that your account may use it, then retry."
    )
    input_may_be_why = status in (400, 413, 422) and error.param not in _OF_THE_SETTING
    return ProviderInputRefused(told) if input_may_be_why else ProviderRejected(told)


def _midway(error: openai.APIError, *, model: str) -> ProviderError:
    code = error.code or error.type
    if code in _SAFETY:
        return declined("content_filter", model)
    if code in _NO_CREDIT:
        return _no_credit(model)
    if code in ("429", "rate_limit_exceeded", "rate_limit_error"):
        return ProviderRateLimited(f"{WHO} asks for a pause, in the middle of its answer ({model}).")
    return ProviderError(f"{WHO} failed in the middle of its answer ({model}).")


def _no_credit(model: str) -> ProviderQuotaExhausted:
    return ProviderQuotaExhausted(
        f"The account's credit for {model} is used up. Add credit or raise the project's limit; what waits then goes "
        "on by itself within the hour.",
        retry_after=_UNTIL_PAID,
    )
