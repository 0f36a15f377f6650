"""Decides which series are of the current configuration: those of a canary that a reload has removed end.

The SDK keeps every series until the process ends; those of ``/metrics`` are removed. A series that stays as it was
would look like a canary that hangs, and two series of ``streamcanary.canary.info`` for one canary would break every
join with it. Of replicas that share a database, each has the series of the canaries that it runs, and one of them those
of alerts.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.metric_labels import metric_labels

IsCurrent = Callable[[str, Mapping[str, Any]], bool]
"""Returns whether the series of a metric, by its name, with these attributes is exported."""

_ALERT_METRICS: Final = frozenset(
    metric.name
    for metric in (
        names.ALERT_ACTIVE,
        names.ALERT_BASE_RATE,
        names.NOTIFICATION_QUEUE_SIZE,
        names.NOTIFICATION_QUEUE_AGE,
    )
)


def is_always_current(metric: str, attributes: Mapping[str, Any]) -> bool:
    """Return true: before the first reload, every series is current."""
    return True


def series_of(canaries: Iterable[Canary], *, alerting: Iterable[Canary] | None = None) -> IsCurrent:
    """Return what is true for the series of ``canaries``, and for those of no canary.

    ``alerting`` are the canaries whose alerts this process evaluates, by default the same; without any it has no series
    of alerts.
    """
    labels, infos = _labels_of(canaries)
    alert_labels = labels if alerting is None else _labels_of(alerting)[0]

    def is_current(metric: str, attributes: Mapping[str, Any]) -> bool:
        is_of_alerts = metric in _ALERT_METRICS
        if is_of_alerts and not alert_labels:
            return False
        name = attributes.get(names.CANARY)
        if name is None:
            return True
        if metric == names.CANARY_INFO.name:
            return infos.get(name) == dict(attributes)
        expected = (alert_labels if is_of_alerts else labels).get(name)
        return expected is not None and expected.items() <= dict(attributes).items()

    return is_current


def _labels_of(canaries: Iterable[Canary]) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Return the labels of the series of each canary, and those of its ``streamcanary.canary.info``."""
    canaries = tuple(canaries)
    labels = {canary.name: metric_labels(canary) for canary in canaries}
    return labels, {canary.name: {**canary.labels, **labels[canary.name]} for canary in canaries}
