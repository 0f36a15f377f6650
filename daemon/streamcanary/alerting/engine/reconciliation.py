"""After a lost store: what it may have known of canaries is called off once they are seen to be well. Pure.

Nobody can tell a lost store from a first start, so keyed receivers get one resolve for each group that there can be;
one that knows of no such alert drops it. Alerts about the daemon itself are left out: that would be noise at each first
start about what hardly ever was. A store that is known to have missed something is another matter.
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

RECONCILED_REASON: Final = "it is well, whatever an earlier store knew of it"
"""The reason of a resolve that nobody remembers a page of."""

UNREADABLE_REASON: Final = "what the store had of it cannot be read"
"""The reason of a resolve of which only the group is known."""


class Reconciler:
    """What can be called off, under one configuration."""

    def __init__(self, bindings: Bindings, groups: Groups) -> None:
        self._bindings = bindings
        self._groups = groups
        self._daemon_alerts = {
            bindings.key_for(rule, subject): (rule, subject) for rule, subject in bindings.daemon_alerts()
        }

    def mark_possibly_notified(self, draft: Draft, now: float, *, include_daemon: bool) -> None:
        """Take note that any incident may have been told of that is not known, and keyed receivers wait for its end.

        With ``ours`` that goes for alerts about the daemon, too.
        """
        self._discard_observations(draft)
        possible = [self._bindings.canary_incident(binding, now, Evidence()) for binding in self._bindings]
        possible += [
            self._bindings.daemon_incident(*one, "", now) for one in self._daemon_alerts.values() if include_daemon
        ]
        for incident in possible:
            receivers = tuple(self._groups.deduplicating_receivers(self._groups.receivers_for(incident)))
            key, labels = self._groups.key_and_labels(incident, self._bindings.key_parts(incident))
            group = draft.groups.get(key)
            if not receivers or (group is not None and group.is_firing):
                continue
            if group is None or not group.is_reconciling:
                opened = now if group is None else max(now, group.opened + 0.001)  # no id may come twice
                group = Group(key=key, labels=labels, receivers=receivers, opened=opened, is_reconciling=True)
            members = tuple(dict.fromkeys((*group.members, incident.key)))
            draft.put(msgspec.structs.replace(group, members=members))

    def resolve_healthy(self, draft: Draft, now: float) -> None:
        """Call off the groups of which all was seen to be well."""
        for group in list(draft.groups.values()):
            if group.is_reconciling and all(self._is_healthy(draft, key, now - group.opened) for key in group.members):
                draft.put(msgspec.structs.replace(group, is_reconciling=False, resolved=now))
                incidents = tuple(self._unknown_incident(group, key, RECONCILED_REASON, now) for key in group.members)
                notification_queue.enqueue_reconciling_resolve(
                    draft, group, incidents, self._groups.deduplicating_receivers(group.receivers), now
                )

    def resolve_unreadable(self, draft: Draft, now: float) -> None:
        """Hold as over what a group has told of and the store could not read: if it is still bad, it fires anew."""
        for group in list(draft.groups.values()):
            for key in group.members if group.is_firing else ():
                if key not in draft.incidents:
                    draft.put(self._unknown_incident(group, key, UNREADABLE_REASON, now))

    @staticmethod
    def _discard_observations(draft: Draft) -> None:
        """Have nothing count as seen that was: what followed it is not known."""
        for key, binding_state in list(draft.detectors.items()):
            draft.put_binding_state(key, msgspec.structs.replace(binding_state, is_last_sample_bad=True))
        for name, reachability in list(draft.reachability.items()):
            draft.put_reachability(name, Reachability(reachability.last_seen))

    def _is_healthy(self, draft: Draft, key: str, waited: float) -> bool:
        """Tell whether what the incident of ``key`` is about was seen, and nothing was wrong; or nobody looks at it."""
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
        """Tell whether nothing is known to be wrong with a part of the daemon, ``waited`` seconds after the suspicion.

        If there is after all, it fires anew.
        """
        if rule == STORE_FAILING:
            return waited > 0  # by the next step it has been written, or it fires
        if rule == RECEIVER_FAILING:
            return waited > 0 and not notification_queue.has_undelivered(draft, subject)
        return any(reachability.last_reached for reachability in draft.reachability.values())

    def _unknown_incident(self, group: Group, key: str, reason: str, now: float) -> Incident:
        """Return the incident of ``group`` that an earlier store may have known under ``key``, as over.

        Its annotations are left out: there is no evidence to fill them in with.
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
