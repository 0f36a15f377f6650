"""What a level receiver is told, again and again: all that fires, and what ended of late."""

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.receivers.alertmanager import LINGER
from streamcanary.model.alerts.incident import Incident


def standing(state: State, receiver: str, now: float) -> tuple[Incident, ...]:
    """Return the incidents that ``receiver`` is to know of at ``now`` (seconds since the epoch), the oldest first."""
    known = {  # by key: one may have been a member of two groups, if grouping has changed in between
        incident.key: _refreshed(state, incident)
        for group in state.groups.values()
        if receiver in group.receivers
        for incident in (state.incidents.get(key) for key in group.members)
        if incident is not None and (incident.resolved is None or now - incident.resolved < LINGER)
    }
    return tuple(sorted(known.values(), key=lambda incident: (incident.opened, incident.key)))


def _refreshed(state: State, incident: Incident) -> Incident:
    """Return ``incident`` with the evidence as it is now."""
    watch = state.detectors.get(incident.key) if incident.firing else None
    return incident if watch is None else watch.refresh(incident)
