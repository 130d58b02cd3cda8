"""Prometheus metrics: requests by route template, documents by status, budgets by model. Ids never become labels."""

from collections.abc import Iterable
from datetime import datetime
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_id import route_template
from domain.budget import Budget

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """One app's metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("chatsphere_http_requests", "Answered requests.", labels, registry=self.registry)
        self.seconds = Histogram(
            "chatsphere_http_request_seconds",
            "Time to the end of the answer, streams included.",
            ("method", "route"),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.documents = Gauge("chatsphere_documents", "Documents by status.", ("status",), registry=self.registry)
        model = ("provider", "model")
        self.model_limit = Gauge(
            "chatsphere_model_limit_per_minute",
            "What all processes together may ask of a model, as refusals taught; none where only settings hold.",
            (*model, "of"),
            registry=self.registry,
        )
        self.model_rate = Gauge(
            "chatsphere_model_last_minute", "What was asked of a model.", (*model, "of"), registry=self.registry
        )
        self.model_pause = Gauge(
            "chatsphere_model_pause_seconds",
            "Left of the pause that a provider asked for.",
            model,
            registry=self.registry,
        )

    def show_budgets(self, budgets: Iterable[tuple[str, str, Budget]], *, now: datetime) -> None:
        """Show what the budgets are at this moment, and of no other models."""
        for gauge in (self.model_limit, self.model_rate, self.model_pause):
            gauge.clear()
        for provider, model, budget in budgets:
            left = (budget.paused_until - now).total_seconds() if budget.paused_until else 0.0
            self.model_pause.labels(provider, model).set(max(0.0, left))
            self.model_rate.labels(provider, model, "requests").set(budget.requests_seen)
            self.model_rate.labels(provider, model, "tokens").set(budget.tokens_seen)
            learnt = {"requests": budget.adapted.requests, "tokens": budget.adapted.tokens}
            for of, limit in learnt.items():
                if limit is not None:
                    self.model_limit.labels(provider, model, of).set(limit)


class CountRequests:
    """Count and time what is answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            route, method = route_template(scope), scope["method"]
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(method, route).observe(perf_counter() - started)
