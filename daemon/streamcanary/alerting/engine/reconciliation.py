"""Reconciles receivers after a lost store: resolves alerts that the lost store may have opened. Pure.

A lost store looks like a first start, so both are handled alike. Each deduplicating receiver gets one resolve for each
possible group, once its canaries report good results; a receiver ignores a resolve of an alert that it does not have.
Alerts about the daemon itself are left out on an empty store, because they are rare and the resolves would be noise at
every first start. They are included if the store is known to be incomplete.
"""

from typing import Final

import msgspec

from streamcanary.alerting.builtin_rules import RECEIVER_FAILING, STORE_FAILING
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.groups import Groups
from streamcanary.alerting.engine.reachability import Reachability
from streamcanary.alerting.engine.state import Draft
from streamcanary.model.alerts.incident import Evidence, Group, Incident

RECONCILED_REASON: Final = "healthy; resolved after a data loss of the store"
"""The resolve reason of an alert that may have been opened by a store that was lost."""

UNREADABLE_REASON: Final = "the stored incident cannot be read"
"""The resolve reason of an incident whose row cannot be read."""


class Reconciler:
    """Resolves alerts of a lost store, under one configuration."""

    def __init__(self, bindings: Bindings, groups: Groups) -> None:
        self._bindings = bindings
        self._groups = groups
        self._daemon_alerts = {
            bindings.key_for(rule, subject): (rule, subject) for rule, subject in bindings.daemon_alerts()
        }

    def mark_possibly_notified(self, draft: Draft, now: float, *, include_daemon: bool) -> None:
        """Mark each possible incident without a firing group as one that deduplicating receivers may have open.

        With ``include_daemon`` this includes alerts about the daemon.
        """
        self._discard_observations(draft)
        possible = [self._bindings.canary_incident(binding, now, Evidence()) for binding in self._bindings]
        possible += [
            self._bindings.daemon_incident(*alert, "", now) for alert in self._daemon_alerts.values() if include_daemon
        ]
        for incident in possible:
            receivers = tuple(self._groups.deduplicating_receivers(self._groups.receivers_for(incident)))
            key, labels = self._groups.key_and_labels(incident, self._bindings.key_parts(incident))
            group = draft.groups.get(key)
            if not receivers or (group is not None and group.is_firing):
                continue
            if group is None or not group.is_reconciling:
                opened = now if group is None else max(now, group.opened + 0.001)  # ids must stay unique
                group = Group(key=key, labels=labels, receivers=receivers, opened=opened, is_reconciling=True)
            members = tuple(dict.fromkeys((*group.members, incident.key)))
            draft.put(msgspec.structs.replace(group, members=members))

    def resolve_healthy(self, draft: Draft, now: float) -> None:
        """Resolve the reconciling groups of which all members are healthy."""
        for group in list(draft.groups.values()):
            if group.is_reconciling and all(self._is_healthy(draft, key, now - group.opened) for key in group.members):
                draft.put(msgspec.structs.replace(group, is_reconciling=False, resolved=now))
                incidents = tuple(self._unknown_incident(group, key, RECONCILED_REASON, now) for key in group.members)
                notification_queue.enqueue_reconciling_resolve(
                    draft, group, incidents, self._groups.deduplicating_receivers(group.receivers), now
                )

    def resolve_unreadable(self, draft: Draft, now: float) -> None:
        """Resolve group members whose incident could not be read; if one is still bad, it fires again."""
        for group in list(draft.groups.values()):
            for key in group.members if group.is_firing else ():
                if key not in draft.incidents:
                    draft.put(self._unknown_incident(group, key, UNREADABLE_REASON, now))

    @staticmethod
    def _discard_observations(draft: Draft) -> None:
        """Discard what earlier runs showed, because the runs after them are unknown."""
        for key, binding_state in list(draft.detectors.items()):
            draft.put_binding_state(key, msgspec.structs.replace(binding_state, is_last_sample_bad=True))
        for name, reachability in list(draft.reachability.items()):
            draft.put_reachability(name, Reachability(reachability.last_seen))

    def _is_healthy(self, draft: Draft, key: str, waited: float) -> bool:
        """Return whether the subject of the incident of ``key`` is known to be healthy, or no rule watches it."""
        binding = self._bindings.get(key)
        if binding is None:
            return key not in self._daemon_alerts or self._is_daemon_part_healthy(
                draft, *self._daemon_alerts[key], waited
            )
        if binding.detector is None:
            reachability = draft.reachability.get(binding.canary.identity)
            return reachability is not None and reachability.is_observed
        binding_state = draft.detectors.get(key)
        return binding_state is not None and not binding_state.is_last_sample_bad

    @staticmethod
    def _is_daemon_part_healthy(draft: Draft, rule: str, subject: str, waited: float) -> bool:
        """Return whether a part of the daemon shows no problem ``waited`` seconds after it was marked.

        A problem that shows later opens a new incident.
        """
        if rule == STORE_FAILING:
            return waited > 0  # until the next step the store was written, or the alert fires
        if rule == RECEIVER_FAILING:
            return waited > 0 and not notification_queue.has_undelivered(draft, subject)
        return any(reachability.last_reached for reachability in draft.reachability.values())

    def _unknown_incident(self, group: Group, key: str, reason: str, now: float) -> Incident:
        """Return a resolved incident of ``group`` under ``key``, for a resolve after data loss.

        Its annotations are left out, because there is no evidence to fill them in.
        """
        if (binding := self._bindings.get(key)) is not None:
            incident = msgspec.structs.replace(self._bindings.canary_incident(binding, now, Evidence()), annotations={})
        elif key in self._daemon_alerts:
            incident = msgspec.structs.replace(
                self._bindings.daemon_incident(*self._daemon_alerts[key], "", now), annotations={}
            )
        else:
            labels = group.labels
            subject = labels.get("canary") or labels.get("target") or ""
            incident = Incident(key=key, rule=labels.get("alert", ""), subject=subject, labels=labels, opened=now)
        return msgspec.structs.replace(incident, resolved=now, resolve_reason=reason)
