"""Why nobody is told of an incident for now: a silence, maintenance, or another alert that explains it."""

from collections.abc import Callable, Mapping

from streamcanary.alerting.engine.keys import notice_id
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.model.alerts.incident import Action, Group, Incident, Progress
from streamcanary.model.alerts.matcher import all_match


class Mute:
    """Tells whether an incident is muted.

    ``explaining`` has, by the key of an incident, those of incidents that may explain it; ``told`` returns the
    receivers that an incident would go to, ``level`` tells whether one is told the state of things, not changes.
    """

    def __init__(
        self,
        windows: Mapping[str, Maintenance],
        explaining: Mapping[str, tuple[str, ...]],
        told: Callable[[Incident], tuple[str, ...]],
        level: Callable[[str], bool],
    ) -> None:
        self._windows = windows
        self._explaining = explaining
        self._told = told
        self._level = level

    def reason(self, draft: Draft, incident: Incident, now: float) -> str | None:
        """Return why nobody is told of ``incident`` at ``now`` (seconds since the epoch); ``None`` if somebody is."""
        if draft.silences or self._windows:
            labels = {**incident.labels, "alert": incident.rule}
            for silence in draft.silences.values():
                if silence.active(now) and silence.covers(labels):
                    return f"silence {silence.id}"
            for name, window in self._windows.items():
                if all_match(window.match, labels) and window.open(now):
                    return f"maintenance {name}"
        for key in self._explaining.get(incident.key, ()):
            other = draft.incidents.get(key)
            if other is not None and self._explains(draft, other, incident, now):
                return f"{other.rule} explains it"
        return None

    def _explains(self, draft: Draft, other: Incident, incident: Incident, now: float) -> bool:
        """Tell whether ``other`` began before ``incident`` fired, and whoever would be told of that knows of it.

        Once ``other`` is over it still explains what was bad until then: only a further bad sample is news. Not if that
        seems to be yet to come: the clock was set back, and which was first nobody can tell.
        """
        since = other.opened if other.evidence.since is None else other.evidence.since
        if incident.opened < since:
            return False
        if other.resolved is not None:
            watch = draft.detectors.get(incident.key)
            if watch is None or not watch.trail.last_bad <= other.resolved <= now:
                return False
        return all(self._knows(draft, receiver, other) for receiver in self._told(incident))

    def _knows(self, draft: Draft, receiver: str, other: Incident) -> bool:
        """Tell whether ``receiver`` knows of ``other``. Who is told the state of things is told of both at once."""
        groups = [group for group in draft.homes(other.key) if receiver in group.receivers]
        if self._level(receiver):
            return bool(groups)
        return any(_accepted(draft, receiver, group, other) for group in groups)


def _accepted(draft: Draft, receiver: str, group: Group, other: Incident) -> bool:
    """Tell whether ``receiver`` has accepted that ``other`` fires, or did: who was told of the end knew of it."""
    if not group.firing:
        return group.flushed is not None
    trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
    if trigger is None or trigger.state is not Progress.ACCEPTED or (other.firing and other.key not in group.said):
        return False
    return any(member.key == other.key for member in trigger.members) or not any(
        notice.receiver == receiver and notice.group == group.key and notice.state is Progress.PENDING
        for notice in draft.notices.values()
    )
