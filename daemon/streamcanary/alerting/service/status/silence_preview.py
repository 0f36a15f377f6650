"""What a silence would match now."""

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.scope import alert_labels
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.status.alert_history import SilencePreview

MAX_NAMES = 50
"""The maximum number of canaries, and of alerts, that a preview names; it counts the others."""


class SilencePreviewer:
    """Previews silences under one configuration."""

    def __init__(self, bindings: Bindings, instance: str) -> None:
        self._bindings = bindings
        self._instance = instance
        self._possible_alerts: list[tuple[str, dict[str, str]]] | None = None

    def preview(self, silence: Silence, state: State) -> SilencePreview:
        """Return the canaries with an alert that ``silence`` would mute, should it fire, and those that fire now."""
        if self._possible_alerts is None:
            self._possible_alerts = [
                (
                    binding.scope_value.canary.name,
                    alert_labels(binding.rule_name, binding.rule, binding.scope_value.labels, self._instance)
                    | {"alert": binding.rule_name},
                )
                for binding in self._bindings
                if binding.scope_value.canary is not None
            ]
        canaries = sorted({name for name, labels in self._possible_alerts if silence.matches(labels)})
        alerts = sorted(
            f"{incident.rule}: {incident.subject}"
            for incident in state.incidents.values()
            if incident.is_firing and silence.matches({**incident.labels, "alert": incident.rule})
        )
        return SilencePreview(
            canaries=tuple(canaries[:MAX_NAMES]),
            canary_count=len(canaries),
            alerts=tuple(alerts[:MAX_NAMES]),
            alert_count=len(alerts),
        )
