"""Keys of open incidents that a configuration would compute otherwise: it has dropped or set a ``renamed_from``. Pure.

An alert that is open keeps its key, so that it neither resolves nor is notified again. Once it has resolved, the next
configuration uses the key that it computes.
"""

from collections.abc import Iterable, Mapping

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.model.alerts.incident import Incident

FormerKeys = Mapping[tuple[str, str], str]
"""Keys by the names of rule and subject."""


def former_keys(incidents: Iterable[Incident], bindings: Bindings, instance: str) -> FormerKeys:
    """Return the keys that open ``incidents`` have, and that ``bindings`` would not give them.

    The names of rule and subject, which an incident takes over at each change of the configuration, say which binding
    it belongs to. One whose key belongs to another binding, or whose binding has an open incident, is none of these.
    """
    firing = {incident.key: incident for incident in incidents if incident.is_firing}
    unknown = [
        incident
        for key, incident in firing.items()
        if key not in bindings and incident.labels.get("instance") == instance
    ]
    if not unknown:
        return {}
    keys = {(binding.rule_name, binding.scope_value.subject): binding.key for binding in bindings}
    keys |= {(rule, subject): bindings.key_for(rule, subject) for rule, subject in bindings.daemon_alerts()}
    found = {}
    for incident in unknown:
        key = keys.get((incident.rule, incident.subject))
        if key is not None and key not in firing:
            found[incident.rule, incident.subject] = incident.key
    return found
