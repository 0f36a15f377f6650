"""Serves the whole API over a real socket, with parts that a test controls."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.status.history import AlertHistory
from streamcanary.alerting.service.status.operator_view import OperatorView
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.store.database import Store
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.event_feed import EventSource, Fragments
from streamcanary.web.api.events import EventHub
from streamcanary.web.api.replicas import Replicas
from streamcanary.web.api.table import ApiSources, api_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock
from support.store.builders import NOON, open_store


class SilenceTable:
    """Alerting without alerts: silences in memory."""

    def __init__(self) -> None:
        self.status = StatusSnapshot()
        self._silences: dict[str, Silence] = {}

    @property
    def silences(self) -> tuple[Silence, ...]:
        """All silences."""
        return tuple(self._silences.values())

    async def create_silence(self, silence: Silence) -> None:
        """Add a silence; at most ten."""
        if len(self._silences) >= 10:
            raise ValueError("there are 10 silences; end some of them")
        self._silences[silence.id] = silence

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """Remove a silence."""
        return self._silences.pop(id, None) is not None


class ApiServer:
    """The parts of a server, its clock, and a client."""

    def __init__(self, statuses: CanaryStatuses, store: Store, clock: ManualClock, hub: EventHub) -> None:
        self.statuses = statuses
        self.store = store
        self.clock = clock
        self.hub = hub
        self.alerts = SilenceTable()
        self.address = ("", 0)
        self.http: httpx2.AsyncClient

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def observe(self, *outcomes: Outcome) -> None:
        """Let runs end."""
        for outcome in outcomes:
            self.statuses.observe(outcome)


def _view(canaries: Sequence[Canary], clock: ManualClock) -> OperatorView:
    """Return the view of an alert engine with one rule, one receiver and a maintenance window, and without runs."""
    config = AlertsConfig.model_validate(
        {
            "rules": {"Errors": {"detector": {"type": "consecutive", "failures": 3}}},
            "receivers": {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}},
            "maintenance": {"nightly": {"match": ['target="openai"'], "cron": "0 3 * * *", "for": "1h"}},
        }
    )
    engine = Engine(config, "test", canaries)
    return OperatorView(lambda: (config, engine, State()), dict, clock)


@asynccontextmanager
async def serve_api(
    directory: Path,
    *canaries: Canary,
    fragments: Fragments | None = None,
    events: dict[str, float] | None = None,
    replicas: Replicas | None = None,
    **web: Any,
) -> AsyncIterator[ApiServer]:
    """Serve the API of ``canaries``; ``events`` are times of the event hub."""
    clock = ManualClock(wall=NOON)
    config = WebConfig.model_validate({"port": 0, **web})
    store = open_store(directory / "s.db")
    async with CanaryStatuses(canaries, instance="test", clock=clock) as statuses:
        hub = EventHub(EventSource(statuses, lambda: server.alerts.status, fragments), **(events or {}))
        server = ApiServer(statuses, store, clock, hub)
        statuses.alerts = lambda: server.alerts.status
        sources = ApiSources(
            statuses=statuses,
            faults=statuses,
            recorded_runs=store,
            runs=RunStore(),
            alerts=server.alerts,
            history=AlertHistory(store),
            view=_view(canaries, clock),
            reloads=None,
            events=hub,
            clock=clock,
            replicas=replicas,
        )
        async with WebServer(config, endpoint_routes(api_endpoints(sources), Authorizer(config))) as site, hub:
            assert site.address is not None
            server.address = site.address
            async with httpx2.AsyncClient(trust_env=False, base_url=server.url) as server.http:
                yield server
    await store.close()
