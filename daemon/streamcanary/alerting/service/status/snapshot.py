"""The status snapshot of alerting for the API, the status page and the CLI, built from the state of the engine."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.bindings import Binding
from streamcanary.alerting.engine.evaluation.baselines import learned_baseline
from streamcanary.alerting.engine.grouping.muting import Muter
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.learning.description import describe_baseline
from streamcanary.alerting.notify.message import render_alert, render_notification
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.model.alerts.incident import Incident, Notification, NotificationState
from streamcanary.model.alerts.status_snapshot import (
    BaselineStatus,
    OpenIncident,
    StatusSnapshot,
    UndeliveredNotification,
)

MAX_INCIDENTS = 1000
"""The maximum number of open incidents in a snapshot."""

MAX_UNDELIVERED = 100
"""The maximum number of undelivered notifications in a snapshot."""


MAX_BASELINES = 1000
"""The maximum number of learned baselines in a snapshot."""


class StatusBuilder:
    """Builds status snapshots for one configuration, that of ``engine``."""

    def __init__(self, config: AlertsConfig, engine: Engine) -> None:
        groups = engine.groups
        self._bindings = engine.bindings
        self._links = config.links
        self._is_state_receiver: Callable[[str], bool] = lambda name: not groups.event_receivers([name])
        self._muter = Muter(
            config.maintenance, engine.bindings.inhibition, groups.receivers_for, self._is_state_receiver
        )

    def snapshot(
        self,
        state: State,
        state_receiver_failures: Mapping[str, Sequence[DeliveryFailure | None]],
        now: float,
        monotonic: float,
    ) -> StatusSnapshot:
        """Return the snapshot of ``state`` at ``now`` (seconds since the epoch; ``monotonic`` is the same moment).

        ``state_receiver_failures`` has the delivery failures of the addresses of each state receiver, by its name.
        """
        draft = Draft(state)
        firing = sorted(
            (incident for incident in state.incidents.values() if incident.is_firing),
            key=lambda incident: (incident.opened, incident.key),
        )
        unaccepted = sorted(
            (each for each in state.notifications.values() if each.state is not NotificationState.ACCEPTED),
            key=lambda notification: notification.sequence,
        )
        undelivered_states = list(_undelivered_states(state_receiver_failures, now, monotonic))
        undelivered_notifications = [
            _undelivered_notification(notification)
            for notification in unaccepted[: MAX_UNDELIVERED - len(undelivered_states)]
        ]
        unreachable = {name for name, addresses in state_receiver_failures.items() if addresses and all(addresses)}
        return StatusSnapshot(
            incidents=tuple(
                self._open_incident(draft, incident, unreachable, now) for incident in firing[:MAX_INCIDENTS]
            ),
            firing_count=len(firing),
            undelivered=(*undelivered_states, *undelivered_notifications),
            undelivered_count=len(undelivered_states) + len(unaccepted),
            baselines=tuple(self._baseline(binding, state) for binding in self._bindings.learning[:MAX_BASELINES]),
            baseline_count=len(self._bindings.learning),
        )

    def mute_reason(self, state: State, incident: Incident, now: float) -> str | None:
        """Return what mutes ``incident`` in ``state`` at ``now`` (epoch seconds); ``None`` if nothing does."""
        return self._muter.mute_reason(Draft(state), incident, now)

    def _baseline(self, binding: Binding, state: State) -> BaselineStatus:
        alert, subject = binding.rule_name, binding.scope_value.subject
        baseline = learned_baseline(state.baselines, binding.key)
        if baseline is None:
            return BaselineStatus(alert=alert, subject=subject)
        return BaselineStatus(
            alert=alert,
            subject=subject,
            text=describe_baseline(binding.rule.measure, baseline),
            base_rate=binding.scope_value.stream(baseline).base_rate,
            learned_at=baseline.learned_at,
        )

    def _open_incident(self, draft: Draft, incident: Incident, unreachable: Container[str], now: float) -> OpenIncident:
        binding_state = draft.detectors.get(incident.key)
        labels = {**incident.labels, "alert": incident.rule}
        incident = binding_state.update_evidence(incident) if binding_state is not None else incident
        muted_by = self._muter.mute_reason(draft, incident, now)
        return OpenIncident(
            incident=incident,
            annotations=render_alert(incident, now, self._links).annotations,
            muted_by=muted_by,
            notified=tuple(
                name
                for name in self._muter.notified_receivers(draft, incident)
                if name not in unreachable and not (muted_by and self._is_state_receiver(name))
            ),
            silenced_by=tuple(
                silence.id for silence in draft.silences.values() if silence.is_active(now) and silence.matches(labels)
            ),
        )


def _undelivered_notification(notification: Notification) -> UndeliveredNotification:
    is_parked = notification.state is NotificationState.PARKED
    return UndeliveredNotification(
        receiver=notification.receiver,
        action=notification.action.value,
        title=render_notification(notification).title,
        since=notification.created,
        attempts=notification.attempts,
        is_parked=is_parked,
        next_attempt=None if is_parked else notification.next_attempt,
        last_error=notification.last_error,
    )


def _undelivered_states(
    state_receiver_failures: Mapping[str, Sequence[DeliveryFailure | None]], now: float, monotonic: float
) -> Iterator[UndeliveredNotification]:
    """Yield the state receivers with failing addresses."""
    for name, addresses in state_receiver_failures.items():
        failures = [failure for failure in addresses if failure is not None]
        if failures:
            since = min(failure.since for failure in failures)
            yield UndeliveredNotification(
                receiver=name,
                action="state",
                title=f"{len(failures)} of {len(addresses)} addresses fail",
                since=now - max(0.0, monotonic - since),
                last_error=failures[0].reason,
            )
