"""Warns of receivers with limitations, and of pages that only such receivers get."""

from collections.abc import Iterable, Mapping, Sequence

from streamcanary.alerting.notify.receivers import Receiver
from streamcanary.alerting.routing import Route, route_for

PAGE_SEVERITY = "page"
"""The ``severity`` label of an alert that pages."""


def receiver_warnings(receivers: Mapping[str, Receiver]) -> list[str]:
    """Return the configuration warnings of ``receivers``."""
    return [
        f"receiver {name}: {receiver.config_warning}" for name, receiver in receivers.items() if receiver.config_warning
    ]


def unpaged_alert_warnings(
    routes: Sequence[Route], receivers: Mapping[str, Receiver], alerts: Iterable[Mapping[str, str]]
) -> list[str]:
    """Return a warning for each alert that pages and is routed only to receivers with a configuration warning.

    ``alerts`` are the labels of all possible alerts: one set for each rule and canary that it applies to.
    """
    found: dict[str, None] = {}
    for labels in alerts:
        route = route_for(routes, labels) if labels.get("severity") == PAGE_SEVERITY else None
        names = [name for name in route.receivers if name in receivers] if route else []
        if names and all(receivers[name].config_warning for name in names):
            found[
                f"{labels.get('alertname', 'an alert')} pages, but is routed only to {' and '.join(names)}, which can "
                "neither deduplicate nor resolve; also route it to a pagerduty, alertmanager or webhook receiver"
            ] = None
    return list(found)
