"""Prometheus metrics: requests by route template, documents by status. Ids never become labels."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_id import route_template

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
