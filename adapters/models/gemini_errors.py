"""What can go wrong with Gemini, in the domain's words. No provider's text and no prompt gets through."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx2
from google.genai import errors

from adapters.clock import now
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

_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_KEY_SETTING = "CHATSPHERE_GEMINI_API_KEY"
_KEY_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "API_KEY_EXPIRED", "ACCOUNT_STATE_INVALID"})
_DECLINED = frozenset(
    {
        "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED",
    }
)  # fmt: skip


@contextmanager
def gemini_errors(*, model: str, setting: str) -> Iterator[None]:
    """Translate whatever google-genai, or a stream beside it, raises for a call of `model`, which `setting` chose.

    Causes are cut off (`from None`): their texts hold the provider's answer or the prompt.
    """
    try:
        yield
    except errors.APIError as error:
        raise _refusal(error, model=model, setting=setting) from None
    except (httpx2.TimeoutException, TimeoutError):
        raise ProviderSilent(f"Gemini did not answer in time ({model}).") from None
    except httpx2.HTTPError as error:
        raise ProviderError(f"The connection to Gemini failed ({type(error).__name__}, {model}).") from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        # UnknownApiResponseError, JSONDecodeError and pydantic's ValidationError are ValueErrors; the
        # others are what the client stumbles over where a field has another type than documented.
        raise ProviderMalformed(f"Gemini's answer was not in its documented format ({model}).") from None


def declined(reason: str | None, model: str) -> ProviderError:
    """Name an answer that ended for `reason`, which is neither STOP nor MAX_TOKENS."""
    code = reason if reason and re.fullmatch(r"[A-Z_]{1,40}", reason) else "UNKNOWN"
    if code in _DECLINED:
        return SafetyBlocked(f"Gemini declined to answer ({code}, {model}). Put the question in other words.")
    return ProviderError(f"Gemini broke its answer off ({code}, {model}).")


def blocked(reason: str | None, *, model: str) -> SafetyBlocked:
    """Name a prompt that was not answered at all."""
    code = reason if reason and re.fullmatch(r"[A-Z_]{1,40}", reason) else "UNKNOWN"
    return SafetyBlocked(f"Gemini refused the prompt ({code}, {model}). Put the question in other words.")


def _refusal(error: errors.APIError, *, model: str, setting: str) -> ProviderError:
    code: object = error.code  # an error inside a stream may come without one
    status = code if isinstance(code, int) else 0
    details = list(_details(error.details))
    if status in (401, 403) or any(detail.get("reason") in _KEY_REASONS for detail in details):
        return ProviderAuth(
            f"Gemini refused the key ({status}). Set {_KEY_SETTING} to a valid key whose project may use {model}, "
            "restart, then retry."
        )
    if error.status == "FAILED_PRECONDITION":  # a 400 that another provider has none of
        return ProviderAuth(
            f"Gemini does not serve the key's project from here ({status}, {model}). Enable billing for the project, or "
            "run the workers in a region that Gemini serves, then retry."
        )
    if status == 429 and any(map(_is_of_the_day, details)):
        return ProviderQuotaExhausted(
            f"The day's quota of {model} is used up (429). It resets at midnight Pacific time, and the work goes on by "
            "itself then. To go on sooner, raise the quota of the key's project.",
            retry_after=until_reset(now()),
        )
    if status == 429:
        return ProviderRateLimited(f"Gemini asks for a pause (429, {model}).", retry_after=_pause(error, details))
    if status == 404:
        return ProviderModelMissing(
            f"Gemini has no model named {model} (404). Set {setting} to one that it has, then retry."
        )
    if status == 413 or (status == 400 and error.status == "INVALID_ARGUMENT"):
        return ProviderInputRefused(_refused_as_it_stands(status, model=model, setting=setting))
    if 400 <= status < 500 and status not in (408, 499):
        return ProviderRejected(_refused_as_it_stands(status, model=model, setting=setting))
    return ProviderError(f"Gemini failed ({status or 'no status'}, {model}).")


def until_reset(moment: datetime) -> timedelta:
    """Tell how long it is until the quotas of the day reset, and ten minutes more so that not all ask at once.

    They do so at midnight Pacific time, which is 07:00 or 08:00 UTC; the later one suits both.
    """
    reset = moment.astimezone(UTC).replace(hour=8, minute=10, second=0, microsecond=0)
    return (reset if reset > moment else reset + timedelta(days=1)) - moment


def _refused_as_it_stands(status: int, *, model: str, setting: str) -> str:
    return (
        f"Gemini refused the request as it stands ({status}, {model}). Check that {setting} names a model for "
        "this purpose and that your account and region may use it, then retry."
    )


def _is_of_the_day(detail: Mapping[str, object]) -> bool:
    violations = detail.get("violations") if detail.get("@type") == _QUOTA_FAILURE else None
    return isinstance(violations, list) and any(
        "perday" in str(violation.get("quotaId", "")).lower()
        for violation in violations
        if isinstance(violation, Mapping)
    )


def _details(body: object) -> Iterator[Mapping[str, object]]:
    error: object = body.get("error") if isinstance(body, Mapping) else None
    details: object = error.get("details") if isinstance(error, Mapping) else None
    if isinstance(details, list):
        yield from (detail for detail in details if isinstance(detail, Mapping))


def _pause(error: errors.APIError, details: list[Mapping[str, object]]) -> timedelta | None:
    told = next((detail.get("retryDelay") for detail in details if detail.get("@type") == _RETRY_INFO), None)
    if told is None:
        told = getattr(error.response, "headers", {}).get("retry-after")
    seconds = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)s?", told) if isinstance(told, str) else None
    return timedelta(seconds=float(seconds[1])) if seconds else None
