"""Alerting as others see it: a board made from its state. Pure; asked by people, and so now and then."""

from collections.abc import Iterator, Mapping, Sequence

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.muting import Muter
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.message import render_alert, render_notification
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.model.alerts.incident import Incident, Notification, NotificationState
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot, UndeliveredNotification

MAX_INCIDENTS = 1000
"""How many open incidents are shown."""

MAX_UNDELIVERED = 100
"""How many notices are shown that are not delivered."""


class StatusBuilder:
    """Makes boards under one configuration, that of ``engine``."""

    def __init__(self, config: AlertsConfig, engine: Engine) -> None:
        groups = engine.groups
        self._trace_url = config.trace_url
        self._muter = Muter(
            config.maintenance,
            engine.bindings.inhibited_by,
            groups.receivers_for,
            lambda name: not groups.event_receivers([name]),
        )

    def snapshot(
        self,
        state: State,
        state_receiver_failures: Mapping[str, Sequence[DeliveryFailure | None]],
        now: float,
        monotonic: float,
    ) -> StatusSnapshot:
        """Return what ``state`` shows at ``now`` (seconds since the epoch; the same moment by the other clock).

        ``levels`` tells of the addresses of each level receiver since when they take nothing, and why.
        """
        draft = Draft(state)
        firing = sorted(
            (one for one in state.incidents.values() if one.is_firing), key=lambda one: (one.opened, one.key)
        )
        unaccepted = sorted(
            (notice for notice in state.notifications.values() if notice.state is not NotificationState.ACCEPTED),
            key=lambda notice: notice.sequence,
        )
        undelivered_states = list(_undelivered_states(state_receiver_failures, now, monotonic))
        undelivered_notifications = [
            _undelivered_notification(notification)
            for notification in unaccepted[: MAX_UNDELIVERED - len(undelivered_states)]
        ]
        return StatusSnapshot(
            incidents=tuple(self._open_incident(draft, incident, now) for incident in firing[:MAX_INCIDENTS]),
            firing_count=len(firing),
            undelivered=(*undelivered_states, *undelivered_notifications),
            undelivered_count=len(undelivered_states) + len(unaccepted),
        )

    def _open_incident(self, draft: Draft, incident: Incident, now: float) -> OpenIncident:
        binding_state = draft.detectors.get(incident.key)
        labels = {**incident.labels, "alert": incident.rule}
        incident = binding_state.update_evidence(incident) if binding_state is not None else incident
        return OpenIncident(
            incident=incident,
            annotations=render_alert(incident, now, self._trace_url).annotations,
            muted_by=self._muter.mute_reason(draft, incident, now),
            silenced_by=tuple(one.id for one in draft.silences.values() if one.is_active(now) and one.matches(labels)),
        )


def _undelivered_notification(notification: Notification) -> UndeliveredNotification:
    parked = notification.state is NotificationState.PARKED
    return UndeliveredNotification(
        receiver=notification.receiver,
        action=notification.action.value,
        title=render_notification(notification).title,
        since=notification.created,
        attempts=notification.attempts,
        is_parked=parked,
        next_attempt=None if parked else notification.next_attempt,
        last_error=notification.last_error,
    )


def _undelivered_states(
    state_receiver_failures: Mapping[str, Sequence[DeliveryFailure | None]], now: float, monotonic: float
) -> Iterator[UndeliveredNotification]:
    """Yield the level receivers of which an address takes nothing."""
    for name, addresses in state_receiver_failures.items():
        failing = [one for one in addresses if one is not None]
        if failing:
            since = min(one.since for one in failing)
            yield UndeliveredNotification(
                receiver=name,
                action="state",
                title=f"{len(failing)} of {len(addresses)} addresses take nothing",
                since=now - max(0.0, monotonic - since),
                last_error=failing[0].reason,
            )
