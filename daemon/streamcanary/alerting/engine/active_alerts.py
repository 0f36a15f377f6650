"""What a level receiver is told, again and again: all that fires, and what ended of late."""

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.receivers.alertmanager import ALERT_EXPIRY
from streamcanary.model.alerts.incident import Incident


def active_alerts(state: State, receiver: str, now: float) -> tuple[Incident, ...]:
    """Return the incidents that ``receiver`` is to know of at ``now`` (seconds since the epoch), the oldest first."""
    known = {  # by key: one may have been a member of two groups, if grouping has changed in between
        incident.key: _with_current_evidence(state, incident)
        for group in state.groups.values()
        if receiver in group.receivers
        for incident in (state.incidents.get(key) for key in group.members)
        if incident is not None and (incident.resolved is None or now - incident.resolved < ALERT_EXPIRY)
    }
    return tuple(sorted(known.values(), key=lambda incident: (incident.opened, incident.key)))


def _with_current_evidence(state: State, incident: Incident) -> Incident:
    """Return ``incident`` with the evidence as it is now."""
    binding_state = state.detectors.get(incident.key) if incident.is_firing else None
    return incident if binding_state is None else binding_state.update_evidence(incident)
