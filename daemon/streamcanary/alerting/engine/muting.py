"""Why nobody is told of an incident for now: a silence, maintenance, or another alert that explains it."""

from collections.abc import Callable, Mapping

from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.model.alerts.incident import Action, Group, Incident, NotificationState
from streamcanary.model.alerts.matcher import all_match


class Muter:
    """Tells whether an incident is muted.

    ``explaining`` has, by the key of an incident, those of incidents that may explain it; ``told`` returns the
    receivers that an incident would go to, ``level`` tells whether one is told the state of things, not changes.
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
        """Return why nobody is told of ``incident`` at ``now`` (seconds since the epoch); ``None`` if somebody is."""
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
                return f"{other.rule} explains it"
        return None

    def _inhibits(self, draft: Draft, other: Incident, incident: Incident, now: float) -> bool:
        """Tell whether ``other`` began before ``incident`` fired, and whoever would be told of that knows of it.

        Once ``other`` is over it still explains what was bad until then: only a further bad sample is news. Not if that
        seems to be yet to come: the clock was set back, and which was first nobody can tell.
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
        """Tell whether ``receiver`` knows of ``other``. Who is told the state of things is told of both at once."""
        groups = [group for group in draft.groups_containing(other.key) if receiver in group.receivers]
        if self._is_state_receiver(receiver):
            return bool(groups)
        return any(_is_accepted(draft, receiver, group, other) for group in groups)


def _is_accepted(draft: Draft, receiver: str, group: Group, other: Incident) -> bool:
    """Tell whether ``receiver`` has accepted that ``other`` fires, or did: who was told of the end knew of it."""
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
