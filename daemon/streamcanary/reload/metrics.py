"""Metrics of the configuration: its reloads, how many objects it has, and the members of the fleet."""

import platform
from collections.abc import Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.settings import Settings


class ConfigMetrics:
    """The instruments of the configuration."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        counter = names.CONFIG_RELOADS
        self._reloads = self._meter.create_counter(counter.name, counter.unit, counter.description)
        for result in ("success", "failure"):
            self._reloads.add(0, {names.RESULT: result})
        # A gauge that is observed ends when a reload removes the fleet.
        members = names.FLEET_MEMBERS
        self._members: int | None = None
        self._meter.create_observable_gauge(members.name, [self._observe_members], members.unit, members.description)
        self._set(names.BUILD_INFO, 1, {names.VERSION: __version__, names.PYTHON_VERSION: platform.python_version()})
        self.record_state(settings, now, is_successful=True)

    def record_reload(self, settings: Settings, now: float, *, is_successful: bool) -> None:
        """Count a reload at ``now`` (seconds since the epoch), after which the daemon runs with ``settings``."""
        self._reloads.add(1, {names.RESULT: "success" if is_successful else "failure"})
        self.record_state(settings, now, is_successful=is_successful)

    def record_state(self, settings: Settings, now: float, *, is_successful: bool) -> None:
        """Record that the daemon runs with ``settings``, and whether that is the configuration in the file."""
        self._set(names.CONFIG_RELOAD_SUCCESSFUL, int(is_successful))
        if not is_successful:
            return
        self._set(names.CONFIG_RELOAD_SUCCESS_TIME, now)
        self._members = settings.fleet.replicas if settings.fleet else None
        counts = {
            "target": len(settings.targets),
            "canary": len(settings.canaries),
            "rule": len(settings.alerts.all_rules),
            "receiver": len(settings.alerts.receivers),
        }
        for kind, count in counts.items():
            self._set(names.CONFIG_OBJECTS, count, {names.TYPE: kind})

    def _observe_members(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._members is None else [Observation(self._members)]

    def _set(self, metric: names.Metric, value: float, labels: dict[str, str] | None = None) -> None:
        self._meter.create_gauge(metric.name, metric.unit, metric.description).set(value, labels)
