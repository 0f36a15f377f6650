"""Metrics of alerting: active alerts and deliveries."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry import metrics

from streamcanary import __version__
from streamcanary.alerting.builtin_rules import RECEIVER_FAILING
from streamcanary.alerting.engine.step import Engine
from streamcanary.model import names
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.metric_labels import metric_labels


class AlertMetrics:
    """The instruments of one engine. ``incidents`` returns all incidents; threads of exporters call it."""

    def __init__(self, engine: Engine, incidents: Callable[[], Mapping[str, Incident]]) -> None:
        self._engine = engine
        self._incidents = incidents
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        counter, gauge = names.NOTIFICATIONS, names.ALERT_ACTIVE
        self._notifications = meter.create_counter(counter.name, counter.unit, counter.description)
        meter.create_observable_gauge(gauge.name, [self._observe_active], gauge.unit, gauge.description)

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery with its outcome: ``accepted``, ``refused`` or ``retried``."""
        self._notifications.add(1, {names.RECEIVER: receiver, names.OUTCOME: outcome})

    def _observe_active(self, options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """Yield 1 or 0 for each possible alert; one that has never fired is 0, not missing."""
        incidents = self._incidents()

        def is_firing(key: str) -> int:
            incident = incidents.get(key)
            return int(incident is not None and incident.is_firing)

        for binding in self._engine.bindings:
            yield metrics.Observation(
                is_firing(binding.key),
                {
                    **metric_labels(binding.canary),
                    names.ALERT: binding.rule_name,
                    names.SEVERITY: binding.rule.labels.get("severity", ""),
                },
            )
        for rule, subject in self._engine.bindings.daemon_alerts():
            incident = self._engine.bindings.daemon_incident(rule, subject, "", 0.0)
            receiver = {names.RECEIVER: subject} if rule == RECEIVER_FAILING else {}
            severity = incident.labels.get("severity", "")
            yield metrics.Observation(
                is_firing(incident.key), {names.SEVERITY: severity, names.ALERT: rule, **receiver}
            )
