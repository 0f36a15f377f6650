"""Muting of incidents by silences, maintenance windows and inhibition."""

from collections.abc import Callable, Mapping

from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.model.alerts.incident import Action, Group, Incident, NotificationState
from streamcanary.model.alerts.matcher import all_match


class Muter:
    """Decides whether an incident is muted.

    ``windows`` are the maintenance windows by name. ``inhibited_by`` maps the key of an incident to the keys of the
    incidents that may inhibit it. ``receivers_for`` returns the receivers of an incident, ``is_state_receiver`` whether
    a receiver is a state receiver.
    """

    def __init__(
        self,
        windows: Mapping[str, Maintenance],
        inhibited_by: Mapping[str, tuple[str, ...]],
        receivers_for: Callable[[Incident], tuple[str, ...]],
        is_state_receiver: Callable[[str], bool],
    ) -> None:
        self._windows = windows
        self._inhibited_by = inhibited_by
        self._receivers_for = receivers_for
        self._is_state_receiver = is_state_receiver

    def mute_reason(self, draft: Draft, incident: Incident, now: float) -> str | None:
        """Return why ``incident`` is muted at ``now`` (seconds since the epoch); ``None`` if it is not."""
        if draft.silences or self._windows:
            labels = {**incident.labels, "alert": incident.rule}
            for silence in draft.silences.values():
                if silence.is_active(now) and silence.matches(labels):
                    return f"silence {silence.id}"
            for name, window in self._windows.items():
                if all_match(window.match, labels) and window.is_open(now):
                    return f"maintenance {name}"
        for key in self._inhibited_by.get(incident.key, ()):
            other = draft.incidents.get(key)
            if other is not None and self._inhibits(draft, other, incident, now):
                return f"inhibited by {other.rule}"
        return None

    def _inhibits(self, draft: Draft, other: Incident, incident: Incident, now: float) -> bool:
        """Return whether ``other`` inhibits ``incident``.

        It does if it began before ``incident`` opened and every receiver of ``incident`` is notified of it. A resolved
        ``other`` still inhibits until the first bad sample after its end. It does not if its end is later than ``now``:
        the clock was set back, and the order of the two is unknown.
        """
        since = other.opened if other.evidence.since is None else other.evidence.since
        if incident.opened < since:
            return False
        if other.resolved is not None:
            binding_state = draft.detectors.get(incident.key)
            if binding_state is None or not binding_state.evidence_log.last_bad_at <= other.resolved <= now:
                return False
        return all(self._is_notified_of(draft, receiver, other) for receiver in self._receivers_for(incident))

    def _is_notified_of(self, draft: Draft, receiver: str, other: Incident) -> bool:
        """Return whether ``receiver`` is notified of ``other``. A state receiver gets both alerts at the same time."""
        groups = [group for group in draft.groups_containing(other.key) if receiver in group.receivers]
        if self._is_state_receiver(receiver):
            return bool(groups)
        return any(_is_accepted(draft, receiver, group, other) for group in groups)


def _is_accepted(draft: Draft, receiver: str, group: Group, other: Incident) -> bool:
    """Return whether ``receiver`` has accepted a notification of ``other`` as a firing member of ``group``.

    A resolved group that was flushed counts as accepted.
    """
    if not group.is_firing:
        return group.last_flush is not None
    trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
    if (
        trigger is None
        or trigger.state is not NotificationState.ACCEPTED
        or (other.is_firing and other.key not in group.notified_members)
    ):
        return False
    return any(member.key == other.key for member in trigger.members) or not any(
        notification.receiver == receiver
        and notification.group == group.key
        and notification.state is NotificationState.PENDING
        for notification in draft.notifications.values()
    )
