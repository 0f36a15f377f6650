"""What alerting measures about itself: which alerts fire, and how deliveries go."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry import metrics

from streamcanary.alerting.builtin_rules import RECEIVER_FAILING
from streamcanary.alerting.engine.step import Engine
from streamcanary.model import names
from streamcanary.model.alerts.incident import Incident


class AlertMetrics:
    """The instruments of one engine. ``incidents`` returns those there are, and is called by exporters' threads."""

    def __init__(self, engine: Engine, incidents: Callable[[], Mapping[str, Incident]]) -> None:
        self._engine = engine
        self._incidents = incidents
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE)
        counter, gauge = names.NOTIFICATIONS, names.ALERT_ACTIVE
        self._notifications = meter.create_counter(counter.name, counter.unit, counter.description)
        meter.create_observable_gauge(gauge.name, [self._observe_active], gauge.unit, gauge.description)

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery that was ``accepted``, ``refused``, or will be ``retried``."""
        self._notifications.add(1, {names.RECEIVER: receiver, names.OUTCOME: outcome})

    def _observe_active(self, options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """Say of each alert that there can be whether it fires: one that never has is 0, not missing."""
        incidents = self._incidents()

        def fires(key: str) -> int:
            incident = incidents.get(key)
            return int(incident is not None and incident.is_firing)

        for binding in self._engine.bindings:
            yield metrics.Observation(
                fires(binding.key),
                {
                    names.CANARY: binding.canary.name,
                    names.TARGET: binding.canary.target,
                    names.PROVIDER_LABEL: binding.canary.provider,
                    names.ALERT: binding.rule_name,
                    names.SEVERITY: binding.rule.labels.get("severity", ""),
                },
            )
        for rule, subject in self._engine.bindings.daemon_alerts():
            one = self._engine.bindings.daemon_incident(rule, subject, "", 0.0)
            more = {names.RECEIVER: subject} if rule == RECEIVER_FAILING else {}
            severity = one.labels.get("severity", "")
            yield metrics.Observation(fires(one.key), {names.SEVERITY: severity, names.ALERT: rule, **more})
