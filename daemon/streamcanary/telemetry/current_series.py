"""Decides which series are of the current configuration: those of a canary that a reload has removed end.

The SDK keeps every series until the process ends. A series that stays as it was would look like a canary that hangs,
and two series of ``streamcanary.canary.info`` for one canary would break every join with it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.metric_labels import metric_labels

IsCurrent = Callable[[str, Mapping[str, Any]], bool]
"""Returns whether the series of a metric, by its name, with these attributes is exported."""


def is_always_current(metric: str, attributes: Mapping[str, Any]) -> bool:
    """Return true: before the first reload, every series is current."""
    return True


def series_of(canaries: Iterable[Canary]) -> IsCurrent:
    """Return what is true for the series of ``canaries``, and for those of no canary."""
    labels = {canary.name: metric_labels(canary) for canary in canaries}
    infos = {canary.name: {**canary.labels, **labels[canary.name]} for canary in canaries}

    def is_current(metric: str, attributes: Mapping[str, Any]) -> bool:
        name = attributes.get(names.CANARY)
        if name is None:
            return True
        if metric == names.CANARY_INFO.name:
            return infos.get(name) == dict(attributes)
        return (expected := labels.get(name)) is not None and expected.items() <= dict(attributes).items()

    return is_current
