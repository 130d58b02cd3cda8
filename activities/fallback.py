"""The models of a bot, one after another, inside one attempt of a step."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog
from temporalio import activity

from adapters.postgres.turns import Question
from domain.errors import ProviderError
from domain.fallback import LATER, REST, gives_way, to_tell
from domain.policy import Policy
from domain.ports import Completion, CompletionRequest, Generator
from domain.providers import in_order

log = structlog.get_logger(__name__)
AnswerT = TypeVar("AnswerT")


class Fallback:
    """Asks the models in the bot's order; this process asks one that gave way a moment ago after the others."""

    def __init__(self, policy: Policy, now: Callable[[], datetime]) -> None:
        """`policy` is that of the step, whose later attempts ask again."""
        self._policy = policy
        self._now = now
        self._resting: dict[str, datetime] = {}

    async def first(
        self, models: Sequence[str], answer: Callable[[str], Awaitable[AnswerT]], *, attempt: int
    ) -> AnswerT:
        """Give what the first model answers that can. Raises the failure that is to be told where none can.

        `answer` takes over from whatever an earlier model had shown, as an attempt does from an earlier one.
        """
        failures: list[ProviderError] = []
        for model in self._order(models):
            try:
                answered = await answer(model)
            except ProviderError as error:
                failures.append(error)
                if len(models) == 1 or not gives_way(error, attempt=attempt):
                    raise
                self._resting[model] = self._now() + REST
                log.warning("model_gave_way", model=model, code=error.code)
            else:
                self._resting.pop(model, None)
                return answered
        raise to_tell(failures, patience=self._policy.patience) from None

    def _order(self, models: Sequence[str]) -> list[str]:
        now = self._now()
        return sorted(models, key=lambda model: self._resting.get(model, now) > now)


class ShortTexts:
    """Has a short text written by the first of a bot's models that can; those that only quote are passed over."""

    def __init__(self, generator: Generator, policy: Policy, now: Callable[[], datetime]) -> None:
        self._generator = generator
        self._fallback = Fallback(policy, now)

    async def complete(self, question: Question, request: CompletionRequest, *, tried_again: bool = True) -> Completion:
        """Ask the bot's models in its order. Raises as `Fallback.first` does.

        A step that goes on without the text is not `tried_again`: then a provider that is down gives way at once.
        """
        every = in_order(question.model, question.configuration.fallback_models, default=self._generator.model)
        models = [model for model in every if self._generator.completes_with(model)]
        return await self._fallback.first(
            models or every[:1],
            lambda model: self._generator.complete(replace(request, model=model)),
            attempt=activity.info().attempt if tried_again else LATER,
        )
