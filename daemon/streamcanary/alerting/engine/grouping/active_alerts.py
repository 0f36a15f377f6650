"""The active alerts of a state receiver: all firing incidents, and those that resolved recently."""

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.receivers.alertmanager import ALERT_EXPIRY
from streamcanary.model.alerts.incident import Incident


def active_alerts(state: State, receiver: str, now: float) -> tuple[Incident, ...]:
    """Return the active alerts of ``receiver`` at ``now`` (seconds since the epoch), oldest first.

    A resolved incident stays in the list for
    :data:`~streamcanary.alerting.notify.receivers.alertmanager.ALERT_EXPIRY` seconds.
    """
    incidents = {  # by key: an incident can be a member of two groups after a change of the grouping
        incident.key: _with_current_evidence(state, incident)
        for group in state.groups.values()
        if receiver in group.receivers
        for incident in (state.incidents.get(key) for key in group.members)
        if incident is not None and (incident.resolved is None or now - incident.resolved < ALERT_EXPIRY)
    }
    return tuple(sorted(incidents.values(), key=lambda incident: (incident.opened, incident.key)))


def _with_current_evidence(state: State, incident: Incident) -> Incident:
    """Return ``incident`` with its current evidence."""
    binding_state = state.detectors.get(incident.key) if incident.is_firing else None
    return incident if binding_state is None else binding_state.update_evidence(incident)
