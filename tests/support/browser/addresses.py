"""The pages of a scenario, each by name."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import structs

from streamcanary.model.run_trace import RunTrace
from streamcanary.model.status.canary_status import CanaryStatus
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.event_feed import EventSource
from streamcanary.web.api.events import EventHub, event_endpoints
from streamcanary.web.api.replicas import Replicas
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.page.live_parts import LiveParts
from streamcanary.web.page.page import page_routes
from streamcanary.web.page.sources import Canaries
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock
from support.status.alerts import AlertScenario, alarmed
from support.status.canaries import NOON, Scenario, outage
from support.status.page import make_sources
from support.status.traces import failed, failed_over, good

Serve = Callable[..., Awaitable[str]]
"""Serves a scenario until the end of the test, with the arguments of :func:`served`, and returns its address."""

TRACES: Final[tuple[RunTrace, ...]] = (failed_over(1), failed(2), good(3))

PATHS: Final = {
    "overview": "/",
    "overview-by-label": "/?group=label%3Atier",
    "overview-filtered": "/?state=failing&q=chat",
    "canary": "/canaries/chat-mini",
    "canary-slow": "/canaries/claude-chat",
    "run": f"/canaries/chat-mini/runs/{TRACES[0].run.run_id}",
    "alerts": "/alerts",
    "incident": "/incidents/k1",
    "silences": "/silences?match=target%3D%22openai%22",
    "public": "/public",
}
"""The pages of the scenario of an outage."""


@asynccontextmanager
async def served(
    scenario: Scenario | None = None,
    alerts: AlertScenario | None = None,
    traces: Sequence[RunTrace] = TRACES,
    *,
    web: dict[str, Any] | None = None,
    unavailable: str = "",
    replicas: Replicas | None = None,
) -> AsyncIterator[str]:
    """Serve the page over a scenario, by default an outage; return its address, without a slash at the end."""
    config = WebConfig.model_validate({"port": 0, "public_page": True, **(web or {})})
    clock = ManualClock(wall=NOON)
    sources = make_sources(
        scenario or outage(),
        alerts or alarmed(),
        traces,
        unavailable=unavailable,
        trace_url="https://jaeger.example/trace/{trace_id}",
    )
    sources = structs.replace(sources, replicas=replicas)
    authorizer = Authorizer(config, clock)
    feed = EventSource(_Unchanging(sources.canaries), lambda: sources.alerts.status, LiveParts(sources, clock))
    async with EventHub(feed) as events:
        routes = endpoint_routes(event_endpoints(events), authorizer) + page_routes(sources, authorizer, clock)
        async with WebServer(config, routes) as server:
            assert server.address is not None
            yield f"http://127.0.0.1:{server.address[1]}"


class _Unchanging:
    """The statuses of a scenario, in which nothing happens."""

    revision = 1
    configured_at = 1

    def __init__(self, canaries: Canaries) -> None:
        self.statuses = canaries.statuses
        self.summary = canaries.summary
        self.find = canaries.find

    def changed_since(self, revision: int) -> tuple[CanaryStatus, ...]:
        """Return nothing."""
        return ()
