"""Metrics of alerting: active alerts, deliveries, and undelivered notifications."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from opentelemetry import metrics

from streamcanary import __version__
from streamcanary.alerting.builtin_rules import RECEIVER_FAILING
from streamcanary.alerting.engine.evaluation.baselines import learned_baseline
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.scope import ScopeValue
from streamcanary.model import names
from streamcanary.model.alerts.incident import Notification, NotificationState
from streamcanary.model.clock import Clock
from streamcanary.model.metric_labels import metric_labels

_SERIES_IN_A_TURN: Final = 10  # of the event loop: about a millisecond


class AlertMetrics:
    """The instruments of an engine, which a reload replaces.

    The gauge of an alert is set when the alert fires or resolves, because a configuration may have thousands of
    possible alerts. For the same reason, :meth:`run` starts the series of a reload in many turns of the event loop. The
    queues of the ``receivers`` are observed by threads of readers.
    """

    def __init__(self, engine: Engine, receivers: Iterable[str], clock: Clock) -> None:
        self._clock = clock
        self._receivers: tuple[str, ...] = ()
        self._notifications_by_id: Mapping[str, Notification] = {}
        self._firing: frozenset[str] = frozenset()
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        counter, active = names.NOTIFICATIONS, names.ALERT_ACTIVE
        self._notifications = meter.create_counter(counter.name, counter.unit, counter.description)
        self._active = meter.create_gauge(active.name, active.unit, active.description)
        size, age = names.NOTIFICATION_QUEUE_SIZE, names.NOTIFICATION_QUEUE_AGE
        meter.create_observable_gauge(size.name, [self._observe_sizes], size.unit, size.description)
        meter.create_observable_gauge(age.name, [self._observe_ages], age.unit, age.description)
        rate = names.ALERT_BASE_RATE
        self._base_rate = meter.create_gauge(rate.name, rate.unit, rate.description)
        self._baselines: Mapping[str, object] = {}
        self._engine = engine
        self._labels: dict[str, dict[str, str]] = {}
        self._waiting: dict[
            tuple[tuple[str, str], ...], str | None
        ] = {}  # labels of a series, and the key of its alert
        self._has_waiting = asyncio.Event()
        self.configure(engine, receivers)
        self._start_series(len(self._waiting))

    def configure(self, engine: Engine, receivers: Iterable[str]) -> None:
        """Replace the engine and the receivers; :meth:`run` starts series, and ends those of alerts that are gone."""
        is_known = engine is self._engine and bool(self._labels)
        self._engine, self._receivers, self._baselines = engine, tuple(receivers), {}
        if is_known:
            return
        before, self._labels = self._labels, dict(_possible_alerts(engine))
        gone = {tuple(labels.items()) for labels in before.values()}
        for key, labels in self._labels.items():
            series = tuple(labels.items())
            gone.discard(series)
            if before.get(key) != labels or series in self._waiting:
                self._waiting[series] = key
        self._waiting |= dict.fromkeys(gone)
        self._has_waiting.set()

    async def run(self) -> None:
        """Set the gauges of the alerts that a reload has made possible or impossible, a few in each turn."""
        while True:
            await self._has_waiting.wait()
            self._start_series(_SERIES_IN_A_TURN)
            await asyncio.sleep(0)

    def _start_series(self, count: int) -> None:
        """Set the gauges of ``count`` alerts that wait for it: 0 if they do not fire, or are no longer possible."""
        for _ in range(min(count, len(self._waiting))):
            series, key = self._waiting.popitem()
            self._active.set(int(key in self._firing), dict(series))
        if not self._waiting:
            self._has_waiting.clear()

    def end(self) -> None:
        """Set all alerts to 0, and export no queues: another replica owns alerting, and exports them."""
        self.update(State())
        self._receivers = ()

    def update(self, state: State) -> None:
        """Set the gauges of the alerts that fire or have resolved in ``state``, and observe its notifications."""
        self._notifications_by_id = state.notifications
        if state.baselines is not self._baselines:
            self._set_base_rates(state)
        firing = frozenset(key for key, incident in state.incidents.items() if incident.is_firing)
        for key in firing ^ self._firing:
            if (labels := self._labels.get(key)) is not None:
                self._active.set(int(key in firing), labels)
        self._firing = firing

    def _set_base_rates(self, state: State) -> None:
        """Set the gauges of the baselines that have changed; 0 for one that was removed."""
        before, self._baselines = self._baselines, state.baselines
        for binding in self._engine.bindings.learning:
            baseline = learned_baseline(state.baselines, binding.key)
            if baseline is not before.get(binding.key):
                labels = {key: value for key, value in self._labels[binding.key].items() if key != names.SEVERITY}
                rate = binding.scope_value.stream(baseline).base_rate
                self._base_rate.set(rate or 0.0, labels)

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery with its outcome: ``accepted``, ``refused`` or ``retried``."""
        self._notifications.add(1, {names.RECEIVER: receiver, names.OUTCOME: outcome})

    def _observe_sizes(self, options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        sizes = dict.fromkeys(self._receivers, 0)
        for notification in self._undelivered():
            sizes[notification.receiver] = sizes.get(notification.receiver, 0) + 1
        for receiver, size in sizes.items():
            yield metrics.Observation(size, {names.RECEIVER: receiver})

    def _observe_ages(self, options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        now = self._clock.time()
        oldest = dict.fromkeys(self._receivers, now)
        for notification in self._undelivered():
            oldest[notification.receiver] = min(oldest.get(notification.receiver, now), notification.created)
        for receiver, created in oldest.items():
            age = max(0.0, now - created)  # the replica that created it may have another time
            yield metrics.Observation(age, {names.RECEIVER: receiver})

    def _undelivered(self) -> Iterator[Notification]:
        """Yield the notifications that wait for their receiver, or that it has refused."""
        notifications = self._notifications_by_id.values()  # a state never changes in place
        return (each for each in notifications if each.state is not NotificationState.ACCEPTED)


def _subject_labels(value: ScopeValue) -> dict[str, str]:
    """Return the labels of the canary of ``value``, or scope and value with the target and provider that all share."""
    if value.canary is not None:
        return metric_labels(value.canary)
    shared = {name: text for name, text in value.labels.items() if name in (names.TARGET, names.PROVIDER_LABEL)}
    return {**shared, names.SCOPE: value.scope, names.SCOPE_VALUE: value.value}


def _possible_alerts(engine: Engine) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the key and the labels of each possible alert; one that has never fired is 0, not missing."""
    bindings = engine.bindings
    for binding in bindings:
        severity = {names.SEVERITY: binding.rule.labels.get("severity", "")}
        yield binding.key, {**_subject_labels(binding.scope_value), names.ALERT: binding.rule_name, **severity}
    for rule, subject in bindings.daemon_alerts():
        incident = bindings.daemon_incident(rule, subject, "", 0.0)
        receiver = {names.RECEIVER: subject} if rule == RECEIVER_FAILING else {}
        severity = {names.SEVERITY: incident.labels.get("severity", "")}
        yield incident.key, {names.ALERT: rule, **severity, **receiver}
