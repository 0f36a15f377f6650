"""Opens and resolves incidents, and adds them to their groups."""

from collections.abc import Mapping

import msgspec

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.grouping.groups import Groups
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.rules import Rule
from streamcanary.model.alerts.incident import Incident


class Incidents:
    """The incidents of one configuration."""

    def __init__(self, bindings: Bindings, groups: Groups, rules: Mapping[str, Rule]) -> None:
        self._bindings = bindings
        self._groups = groups
        self._rules = rules

    def open(self, draft: Draft, incident: Incident, now: float) -> None:
        """Open ``incident`` and add it to its group. Do nothing if it is open already, or its rule is disabled."""
        before = draft.incidents.get(incident.key)
        if (before is not None and before.is_firing) or not self._rules[incident.rule].enabled:
            return
        if before is not None and incident.opened <= before.opened:  # the clock was set back; ids must stay unique
            incident = msgspec.structs.replace(incident, opened=before.opened + 0.001)
        draft.put(incident)
        if before is None or not self._groups.transfer(draft, incident, now):
            self._groups.add(draft, incident, self._bindings.key_parts(incident), now)

    def close(self, draft: Draft, key: str, at: float, reason: str, now: float, *, evaluate: bool = True) -> None:
        """Resolve the incident and update its groups. Do nothing if it is not open.

        With ``evaluate=False`` the caller has to evaluate the groups afterwards.
        """
        incident = draft.incidents.get(key)
        if incident is None or not incident.is_firing:
            return
        draft.put(msgspec.structs.replace(incident, resolved=max(at, incident.opened), resolve_reason=reason))
        if evaluate:
            self._groups.on_incident_resolved(draft, key, now)
