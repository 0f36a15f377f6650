"""Adapts a state to another configuration, after a start or a reload. Pure."""

from collections.abc import Container, Iterable, Mapping

import msgspec

from streamcanary.alerting.builtin_rules import DAEMON_RULES, RECEIVER_FAILING
from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.engine.grouping.groups import Groups
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.rules import CANARY_SCOPE, Rule
from streamcanary.model.alerts.incident import Incident


def remove_stale_rows(draft: Draft, bindings: Bindings, groups: Groups) -> None:
    """Remove rows of canaries, rules and receivers that are no longer configured."""
    for key in list(draft.detectors):
        if key not in bindings:
            draft.remove("detectors", key)
    for name in list(draft.reachability):
        if name not in bindings.identities:
            draft.remove("reachability", name)
    for notification in list(draft.notifications.values()):
        if not groups.event_receivers([notification.receiver]):
            draft.remove("notifications", notification.id)


def restart_missing_runs(draft: Draft, bindings: Bindings, rescheduled: Iterable[str], now: float) -> None:
    """Count the missing runs of ``rescheduled`` canaries, by identity, from ``now`` on."""
    scheduled_since = {**draft.scheduled_since, **dict.fromkeys(rescheduled, now)}
    draft.scheduled_since = {
        identity: since for identity, since in scheduled_since.items() if identity in bindings.identities
    }


def refresh_members(draft: Draft, bindings: Bindings) -> None:
    """Update the names of the members of pooled alerts, and drop canaries that are members no longer."""
    for binding in bindings:
        state = draft.detectors.get(binding.key) if binding.is_wide else None
        if state is not None and state.members.counted:
            names = {canary.renamed_from: canary.name for canary in binding.canaries if canary.renamed_from}
            names |= {canary.name: canary.name for canary in binding.canaries}
            members = state.members.renamed(names)
            draft.put_binding_state(binding.key, msgspec.structs.replace(state, members=members))


def refresh_metadata(draft: Draft, binding: Binding, bindings: Bindings, incident: Incident) -> None:
    """Update names, labels and annotations of an open incident to those of the current configuration.

    The labels also decide the route.
    """
    state = draft.detectors.get(binding.key)
    refreshed = bindings.incident_of(binding, incident.opened, incident.evidence, state and state.detector)
    if refreshed != incident:
        draft.put(refreshed)


def orphan_reason(
    incident: Incident, bindings: Bindings, rules: Mapping[str, Rule], receivers: Container[str], instance: str
) -> str | None:
    """Return why ``incident`` can never resolve under this configuration; ``None`` if it can.

    An incident resolves only under the key that this engine computes for it, so the key decides.
    """
    enabled = incident.rule in rules and rules[incident.rule].enabled
    is_about_daemon = incident.rule in DAEMON_RULES and incident.key == bindings.key_for(
        incident.rule, incident.subject
    )
    if incident.rule == RECEIVER_FAILING and incident.subject not in receivers:
        return "the receiver was removed from the configuration"
    if incident.key in bindings or (is_about_daemon and enabled):
        return None
    if incident.labels.get("instance") != instance:
        return f"the instance is now called {instance}"
    if not enabled:
        return "the rule was removed from the configuration"
    scope = incident.scope or CANARY_SCOPE
    if incident.rule not in DAEMON_RULES and scope not in rules[incident.rule].per:
        return f"per: {scope} was removed from the configuration of the rule"
    if incident.scope:
        return "its scope or canaries were removed from the configuration, or a narrower alert has the same canaries"
    return "the canary was removed from the configuration, or the rule no longer matches it"
