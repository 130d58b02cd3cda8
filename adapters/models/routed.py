"""One generator over all providers: each request goes to the one that its model's name says."""

from collections.abc import AsyncIterator, Callable, Mapping

from domain.errors import ProviderNotConfigured
from domain.ports import AnswerEvent, AnswerRequest, Completion, CompletionRequest, Generator
from domain.providers import provider_of

Opened = Mapping[str, Callable[[], Generator]]
"""By provider. It is called once a request: whoever is costly to make is made on the first one, and kept."""


class RoutedGenerator:
    """A `Generator`. What names no provider, or no model, is the default provider's."""

    def __init__(self, opened: Opened, *, default: str) -> None:
        self._opened = opened
        self._default = default

    @property
    def model(self) -> str:
        return self._opened[self._default]().model

    @property
    def completes(self) -> bool:
        return self._opened[self._default]().completes

    def completes_with(self, model: str | None) -> bool:
        """Ask the model's provider. Where there is none, the call itself says so."""
        try:
            return self._of(model).completes
        except ProviderNotConfigured:
            return True

    def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerEvent]:
        """Stream from the model's provider. Raises `ProviderNotConfigured` at once."""
        return self._of(request.model).stream(request)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Let the model's provider write. Raises `ProviderNotConfigured` where there is none."""
        return await self._of(request.model).complete(request)

    def _of(self, model: str | None) -> Generator:
        if model is None:
            return self._opened[self._default]()
        return self._opened[provider_of(model, default=self._default, configured=self._opened)]()
