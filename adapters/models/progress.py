"""What a provider's stream has told so far, and how it ends; the same for every provider."""

import json
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from opentelemetry.trace import Span

from adapters.models.spans import record_usage
from domain.errors import ProviderError, ProviderMalformed, ProviderRejected
from domain.ports import Finished, ToolCall


@dataclass(slots=True)
class CallParts:
    """A tool call that comes in pieces: its arguments are JSON, cut anywhere."""

    index: int
    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Progress:
    """Of one stream. `finish` is the provider's own word for why it ended."""

    input_tokens: int = 0
    output_tokens: int = 0
    wrote: bool = False
    finish: str | None = None
    calls: list[CallParts] = field(default_factory=list)

    def call(self, index: int) -> CallParts | None:
        """Find the latest call of that index, whose pieces come now."""
        return next((call for call in reversed(self.calls) if call.index == index), None)


def calls_of(progress: Progress, *, who: str, model: str, signature: str | None = None) -> list[ToolCall]:
    """Put the calls together; `signature` goes with the first one."""
    calls: list[ToolCall] = []
    for parts in progress.calls:
        try:
            arguments = json.loads(parts.arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict) or not parts.name:
            raise ProviderMalformed(f"{who} asked for a tool in broken JSON ({model}).")
        calls.append(
            ToolCall(parts.id or f"call-{secrets.token_hex(8)}", parts.name, arguments, None if calls else signature)
        )
    return calls


@dataclass(frozen=True, slots=True)
class Ending:
    """What a provider calls its ends; whatever is neither done nor the limit is `declined`."""

    who: str
    done: Collection[str]
    limit: str
    declined: Callable[[str, str], ProviderError]
    """Takes the reason and the model."""

    def check(self, progress: Progress, model: str) -> None:
        """Raise for a stream that broke off, was declined, or spent its tokens inside a tool call."""
        if progress.finish is None:
            raise ProviderError(f"{self.who}'s answer stopped before its end ({model}).")
        if progress.finish not in (*self.done, self.limit):
            raise self.declined(progress.finish, model)
        if progress.finish == self.limit and (progress.calls or not progress.wrote):
            raise ProviderRejected(
                f"The token limit was spent before a word or a tool call was whole. Raise the limit ({model})."
            )

    def finished(self, progress: Progress, name: str, span: Span) -> Finished:
        """Count, check, and end. `name` is `provider/model`."""
        record_usage(span, input_tokens=progress.input_tokens, output_tokens=progress.output_tokens)
        self.check(progress, name)
        if not progress.wrote and not progress.calls:
            raise ProviderMalformed(f"{self.who}'s answer was empty ({name}).")
        return Finished(
            model=name,
            input_tokens=progress.input_tokens,
            output_tokens=progress.output_tokens,
            cut_off=progress.finish == self.limit,
        )
