"""All endpoints of the API, in the order of their documentation."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from msgspec import Struct

from streamcanary.model.clock import Clock
from streamcanary.model.status.canary_status import RuleStatus
from streamcanary.web.api.alerts import Alerts, alert_endpoints
from streamcanary.web.api.canaries import CanaryFaults, CanaryStatuses, RecordedRuns, canary_endpoints
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.event_feed import EventSource
from streamcanary.web.api.events import EventHub, event_endpoints
from streamcanary.web.api.openapi import openapi_endpoint
from streamcanary.web.api.operations import IncidentHistory, OperatorView, operations_endpoints
from streamcanary.web.api.reload import Reloads, reload_endpoints
from streamcanary.web.api.replicas import Replicas, replica_endpoints
from streamcanary.web.api.runs import Runs, run_endpoints
from streamcanary.web.api.status import status_endpoints


class ApiSources(Struct, frozen=True, kw_only=True):
    """Where the API gets its data from; ``rules`` returns the alert rules of a canary.

    ``replicas`` are those that share the database, ``None`` if there is no such database.
    """

    statuses: CanaryStatuses
    faults: CanaryFaults
    rules: Callable[[str], Sequence[RuleStatus]] = lambda _: ()
    recorded_runs: RecordedRuns
    runs: Runs
    alerts: Alerts
    history: IncidentHistory
    view: OperatorView
    reloads: Reloads | None
    events: EventHub
    clock: Clock
    replicas: Replicas | None = None


def api_endpoints(sources: ApiSources) -> list[Endpoint]:
    """Return the endpoints."""
    events = sources.events
    endpoints = [
        *status_endpoints(sources.statuses, sources.reloads, sources.replicas),
        *replica_endpoints(sources.replicas),
        *event_endpoints(events),
        *canary_endpoints(
            sources.statuses, sources.recorded_runs, sources.faults, sources.rules, events.source.event_id
        ),
        *run_endpoints(sources.runs, sources.clock, sources.recorded_runs, sources.replicas),
        *operations_endpoints(sources.history, sources.view, sources.clock),  # silences/preview before silences/{id}
        *alert_endpoints(sources.alerts, sources.clock),
        *reload_endpoints(sources.reloads),
    ]
    return [*endpoints, openapi_endpoint(endpoints)]


def described_endpoints() -> list[Endpoint]:
    """Return the endpoints to describe them: without data, they cannot be called."""
    nothing = cast("Any", None)
    return api_endpoints(
        ApiSources(
            statuses=nothing,
            faults=nothing,
            recorded_runs=nothing,
            runs=nothing,
            alerts=nothing,
            history=nothing,
            view=nothing,
            reloads=nothing,
            events=EventHub(EventSource(nothing, nothing)),
            clock=nothing,
        )
    )
