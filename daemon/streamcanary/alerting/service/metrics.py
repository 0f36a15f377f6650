"""Metrics of alerting: active alerts, deliveries, and undelivered notifications."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from opentelemetry import metrics

from streamcanary import __version__
from streamcanary.alerting.builtin_rules import RECEIVER_FAILING
from streamcanary.alerting.engine.bindings import Binding
from streamcanary.alerting.engine.evaluation.baselines import learned_baseline
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.scope import ScopeValue
from streamcanary.model import names
from streamcanary.model.alerts.incident import Notification, NotificationState
from streamcanary.model.clock import Clock
from streamcanary.model.metric_labels import metric_labels

MAX_IDLE_SERIES: Final = 20_000
"""With more possible alerts, an alert has a series only once it has fired: 70,000 at 0 would take a scrape a second."""

_SERIES_IN_A_TURN: Final = 10  # of the event loop: about a millisecond

_Series = tuple[tuple[str, ...], tuple[str, ...]]
"""The labels of a series: names and values, in a third of the memory of a dictionary."""


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
        self._engine_of_series: Engine | None = None
        self._shown: dict[str, _Series] = {}  # the series that exist or wait, by the key of the alert
        self._waiting: dict[_Series, str | None] = {}  # and the key of its alert
        self._has_waiting = asyncio.Event()
        self.configure(engine, receivers)
        self._start_series(len(self._waiting))

    def configure(self, engine: Engine, receivers: Iterable[str]) -> None:
        """Replace the engine and the receivers; :meth:`run` starts series, and ends those of alerts that are gone."""
        is_known, self._engine_of_series = engine is self._engine_of_series, engine
        self._engine, self._receivers, self._baselines = engine, tuple(receivers), {}
        if is_known:
            return
        before, shown = self._shown, {}
        has_idle = len(engine.bindings) <= MAX_IDLE_SERIES
        gone = set(before.values())
        for key, series in _possible_alerts(engine):
            gone.discard(series)
            if not has_idle and key not in before:
                continue
            shown[key] = series
            if before.get(key) != series or series in self._waiting:
                self._waiting[series] = key
        self._shown = shown
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
            self._active.set(int(key in self._firing), _labels_of(series))
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
            if (series := self._shown.get(key) or _series_of(self._engine, key)) is not None:
                self._shown[key] = series
                self._active.set(int(key in firing), _labels_of(series))
        self._firing = firing

    def _set_base_rates(self, state: State) -> None:
        """Set the gauges of the baselines that have changed; 0 for one that was removed."""
        before, self._baselines = self._baselines, state.baselines
        for binding in self._engine.bindings.learning:
            baseline = learned_baseline(state.baselines, binding.key)
            if baseline is not before.get(binding.key):
                labels = _binding_labels(binding)
                del labels[names.SEVERITY]
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


def _labels_of(series: _Series) -> dict[str, str]:
    return dict(zip(*series, strict=True))


def _possible_alerts(engine: Engine) -> Iterator[tuple[str, _Series]]:
    """Yield the key and the series of each possible alert."""
    names_of: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal ones are one object
    for key, labels in _alert_labels(engine):
        label_names = tuple(labels)
        yield key, (names_of.setdefault(label_names, label_names), tuple(labels.values()))


def _series_of(engine: Engine, key: str) -> _Series | None:
    """Return the series of the alert of ``key``; ``None`` if it is not possible."""
    binding = engine.bindings.get(key)
    labels = _binding_labels(binding) if binding is not None else dict(_daemon_labels(engine)).get(key)
    return None if labels is None else (tuple(labels), tuple(labels.values()))


def _alert_labels(engine: Engine) -> Iterator[tuple[str, dict[str, str]]]:
    for binding in engine.bindings:
        yield binding.key, _binding_labels(binding)
    yield from _daemon_labels(engine)


def _binding_labels(binding: Binding) -> dict[str, str]:
    severity = {names.SEVERITY: binding.rule.labels.get("severity", "")}
    return {**_subject_labels(binding.scope_value), names.ALERT: binding.rule_name, **severity}


def _daemon_labels(engine: Engine) -> Iterator[tuple[str, dict[str, str]]]:
    bindings = engine.bindings
    for rule, subject in bindings.daemon_alerts():
        incident = bindings.daemon_incident(rule, subject, "", 0.0)
        receiver = {names.RECEIVER: subject} if rule == RECEIVER_FAILING else {}
        severity = {names.SEVERITY: incident.labels.get("severity", "")}
        yield incident.key, {names.ALERT: rule, **severity, **receiver}
