"""What ``check`` warns of: pages that go to nobody who could be woken by one."""

from collections.abc import Iterable, Mapping, Sequence

from streamcanary.alerting.notify.receivers import Receiver
from streamcanary.alerting.routing import Route, route_for

PAGE_SEVERITY = "page"
"""The ``severity`` of what is to wake somebody."""


def receiver_warnings(receivers: Mapping[str, Receiver]) -> list[str]:
    """Return what is to be known of ``receivers`` by whoever uses them."""
    return [
        f"receiver {name}: {receiver.config_warning}" for name, receiver in receivers.items() if receiver.config_warning
    ]


def unpaged_alert_warnings(
    routes: Sequence[Route], receivers: Mapping[str, Receiver], alerts: Iterable[Mapping[str, str]]
) -> list[str]:
    """Return a warning for each alert that pages, and that only receivers with a caveat are told of.

    ``alerts`` are the labels that alerts can have: those of each rule for each canary that it watches.
    """
    found: dict[str, None] = {}
    for labels in alerts:
        route = route_for(routes, labels) if labels.get("severity") == PAGE_SEVERITY else None
        known = [name for name in route.receivers if name in receivers] if route else []
        if known and all(receivers[name].config_warning for name in known):
            found[
                f"{labels.get('alertname', 'an alert')} pages, and only {' and '.join(known)} is told of it, which can "
                "neither deduplicate nor resolve; route it to pagerduty, alertmanager or a webhook, too"
            ] = None
    return list(found)
