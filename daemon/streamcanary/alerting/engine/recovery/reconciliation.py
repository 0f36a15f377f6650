"""Reconciles receivers after a data loss: resolves alerts that the lost store may have opened. Pure.

A lost store looks like a first start, so both are handled alike. Each possible alert is assumed to have fired: its
detector is started as if it had, and each possible group gets one resolve once all of its alerts would have resolved.
Only receivers that ignore a resolve of an alert that they do not have are sent it, so that a first start notifies no
one. Alerts about the daemon itself are left out on an empty store, because they are rare. They are included if the
store is known to be incomplete.
"""

from collections.abc import Container, Iterable
from typing import Final, NamedTuple

import msgspec

from streamcanary.alerting.builtin_rules import BEHIND_SCHEDULE, RECEIVER_FAILING, RELOAD_FAILED, STORE_FAILING
from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.evaluation.reachability import Reachability
from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.grouping.groups import Groups
from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.recovery.assumed_firing import AssumedFiring
from streamcanary.alerting.engine.state import BindingState, Draft
from streamcanary.model.alerts.incident import Action, Evidence, Group, Incident
from streamcanary.model.alerts.row_change import StateTable

RECONCILED_REASON: Final = "healthy; resolved after a data loss of the store"
"""The resolve reason of an alert that may have been opened by a store that was lost."""

_BEHIND_AGAIN_WITHIN: Final = 240.0  # seconds in which a daemon that is still behind schedule says so again

UNREADABLE_REASON: Final = "the stored incident cannot be read, and no rule watches it"
"""The resolve reason of an incident whose row cannot be read, and that no rule can resolve."""


class _AssumedGroup(NamedTuple):
    """The labels of a group, its alerts that may have fired before the data loss, and their receivers."""

    labels: dict[str, str]
    members: list[str]
    receivers: dict[str, None]


class Reconciler:
    """Resolves alerts of a lost store, under one configuration."""

    def __init__(self, bindings: Bindings, groups: Groups) -> None:
        self._bindings = bindings
        self._groups = groups
        self._daemon_alerts = {
            bindings.key_for(rule, subject): (rule, subject) for rule, subject in bindings.daemon_alerts()
        }

    def assume_firing(self, draft: Draft, now: float, *, include_daemon: bool) -> None:
        """Assume that each possible alert that is not stored as firing fired before the data loss.

        It is limited to alerts of which a receiver may be sent a resolve. With ``include_daemon`` it includes alerts
        about the daemon.
        """
        for name, reachability in list(draft.reachability.items()):  # what came after the last stored run is unknown
            draft.put_reachability(name, Reachability(reachability.last_seen))
        self._assume_alerts(draft, now, include_daemon=include_daemon)

    def mark_unreadable(self, draft: Draft, rows: Iterable[tuple[StateTable, str]], now: float) -> None:
        """Restore what receivers may have been sent according to ``rows`` of the store, which could not be read.

        A group among them is opened again if one of its alerts fires; if not, its alerts are assumed to fire. A
        receiver of a notification among them may have the trigger of a firing group, or may lack the resolve of a
        resolved one: it is sent the resolve.
        """
        keys: dict[StateTable, set[str]] = {}
        for table, key in rows:
            keys.setdefault(table, set()).add(key)
        if groups := keys.get("groups"):
            for incident in sorted(draft.incidents.values(), key=lambda incident: incident.opened):
                parts = self._bindings.key_parts(incident)
                if incident.is_firing and self._groups.key_and_labels(incident, parts)[0] in groups:
                    self._groups.add(draft, incident, parts, now, evaluate=False)
            self._assume_alerts(draft, now, include_daemon=True, groups=groups)
        if notifications := keys.get("notifications"):
            for group in list(draft.groups.values()):
                self._mark_receivers(draft, group, notifications)

    def _mark_receivers(self, draft: Draft, group: Group, unreadable: Container[str]) -> None:
        """Mark the receivers of ``group`` whose trigger or resolve is among the ids of ``unreadable`` notifications."""
        action = Action.TRIGGER if group.is_firing else Action.RESOLVE
        receivers = [
            name
            for name in _union(group.receivers, group.possibly_notified)
            if notification_id(name, group.key, group.opened, action) in unreadable
        ]
        if receivers and not (group.is_firing or group.is_reconciling):
            group = msgspec.structs.replace(group, possibly_notified=())  # the others were sent the resolve
        for name in receivers:
            group = group.with_possibly_notified(name)
        if receivers:
            draft.put(group)

    def _assume_alerts(
        self, draft: Draft, now: float, *, include_daemon: bool, groups: Container[str] | None = None
    ) -> None:
        """Assume that each possible alert, of any group or of ``groups``, fired before the data loss."""
        possible = [self._bindings.incident_of(binding, now, Evidence()) for binding in self._bindings]
        possible += [
            self._bindings.daemon_incident(*alert, "", now) for alert in self._daemon_alerts.values() if include_daemon
        ]
        assumed_groups: dict[str, _AssumedGroup] = {}
        for incident in possible:
            stored = draft.incidents.get(incident.key)
            receivers = self._groups.reconciling_receivers(self._groups.receivers_for(incident))
            if not receivers or (stored is not None and stored.is_firing):
                continue
            key, labels = self._groups.key_and_labels(incident, self._bindings.key_parts(incident))
            if groups is None or key in groups:
                assumed_group = assumed_groups.setdefault(key, _AssumedGroup(labels, [], {}))
                assumed_group.members.append(incident.key)
                assumed_group.receivers.update(dict.fromkeys(receivers))
                if incident.key in self._bindings:
                    self._assume_binding(draft, incident.key)
        for key, assumed_group in assumed_groups.items():
            draft.put(_with_assumed_members(draft.groups.get(key), key, assumed_group, now))

    def resolve_recovered(self, draft: Draft, now: float) -> None:
        """Send the resolve of the reconciling groups of which all members would have resolved."""
        for group in list(draft.groups.values()):
            if group.is_reconciling and all(
                self._has_recovered(draft, key, now - group.opened) for key in group.possibly_firing
            ):
                draft.put(msgspec.structs.replace(group, is_reconciling=False, resolved=now))
                incidents = tuple(
                    self._unknown_incident(group, key, RECONCILED_REASON, now) for key in group.possibly_firing
                )
                receivers = self._groups.event_receivers(group.possibly_notified)
                notification_queue.enqueue_reconciling_resolve(draft, group, incidents, receivers, now)
                for key in group.possibly_firing:  # the state of a rule about missing runs is needed no longer
                    if (binding := self._bindings.get(key)) is not None and binding.detector is None:
                        draft.remove("detectors", key)

    def has_observed_member(self, draft: Draft, group: Group) -> bool:
        """Return whether a member of the reconciling ``group`` has samples that do not resolve it yet."""
        states = [draft.detectors.get(key) for key in group.possibly_firing if group.is_reconciling]
        return any(
            state is not None and state.assumed_firing is not None and state.assumed_firing.detector is not None
            for state in states
        )

    def restore_unreadable(self, draft: Draft, now: float) -> None:
        """Restore what groups refer to and what could not be read from the store.

        A notified member fires again, so that its rule resolves it; if no rule watches it, it is resolved. A member
        that was not notified is removed: if it still fires, its detector opens it again.
        """
        for group in list(draft.groups.values()):
            is_of_earlier_version = group.is_reconciling and not group.possibly_notified
            if is_of_earlier_version:
                receivers = tuple(self._groups.reconciling_receivers(group.receivers))
                draft.put(msgspec.structs.replace(group, receivers=(), possibly_notified=receivers))
            for key in group.possibly_firing:
                if key in self._bindings and (is_of_earlier_version or key not in draft.detectors):
                    self._assume_binding(draft, key)
            missing = [key for key in group.members if group.is_firing and key not in draft.incidents]
            for key in missing:
                if key in group.notified_members:
                    draft.put(self._restored_incident(group, key, now))
            if removed := set(missing) - set(group.notified_members):
                members = tuple(key for key in group.members if key not in removed)
                draft.put(msgspec.structs.replace(group, members=members))

    @staticmethod
    def _assume_binding(draft: Draft, key: str) -> None:
        before = draft.detectors.get(key) or BindingState()
        draft.put_binding_state(key, msgspec.structs.replace(before, assumed_firing=AssumedFiring()))

    def _has_recovered(self, draft: Draft, key: str, waited: float) -> bool:
        """Return whether the alert of ``key`` would have resolved ``waited`` seconds after the data loss.

        An alert that no rule watches any longer has resolved.
        """
        incident = draft.incidents.get(key)
        if incident is not None and incident.is_firing:  # fires, and is muted
            return False
        if key in self._daemon_alerts:
            return self._has_daemon_part_recovered(draft, *self._daemon_alerts[key], waited)
        return not draft.is_assumed_firing(key)

    @staticmethod
    def _has_daemon_part_recovered(draft: Draft, rule: str, subject: str, waited: float) -> bool:
        """Return whether a part of the daemon shows no problem ``waited`` seconds after the data loss.

        It is negative if the clock was set back since. A problem that shows later opens a new incident.
        """
        if rule in (STORE_FAILING, RELOAD_FAILED):
            return waited != 0  # until the next step the store was written and the file was valid, or the alert fires
        if rule == BEHIND_SCHEDULE:
            return not 0 <= waited < _BEHIND_AGAIN_WITHIN
        if rule == RECEIVER_FAILING:
            return waited != 0 and not notification_queue.has_undelivered(draft, subject)
        return any(reachability.last_reached for reachability in draft.reachability.values())

    def _restored_incident(self, group: Group, key: str, now: float) -> Incident:
        """Return the incident of ``group`` under ``key``, firing since the group opened if a rule can resolve it."""
        if (binding := self._bindings.get(key)) is not None:
            return self._bindings.incident_of(binding, group.opened, Evidence())
        if key in self._daemon_alerts:
            return self._bindings.daemon_incident(*self._daemon_alerts[key], "", group.opened)
        return self._unknown_incident(group, key, UNREADABLE_REASON, now)

    def _unknown_incident(self, group: Group, key: str, reason: str, now: float) -> Incident:
        """Return a resolved incident of ``group`` under ``key``, for a resolve after data loss.

        Its annotations are left out, because there is no evidence to fill them in.
        """
        if (binding := self._bindings.get(key)) is not None:
            incident = msgspec.structs.replace(self._bindings.incident_of(binding, now, Evidence()), annotations={})
        elif key in self._daemon_alerts:
            incident = msgspec.structs.replace(
                self._bindings.daemon_incident(*self._daemon_alerts[key], "", now), annotations={}
            )
        else:
            labels = group.labels
            subject = labels.get("canary") or labels.get("target") or ""
            incident = Incident(key=key, rule=labels.get("alert", ""), subject=subject, labels=labels, opened=now)
        return msgspec.structs.replace(incident, resolved=now, resolve_reason=reason)


def _with_assumed_members(group: Group | None, key: str, assumed: _AssumedGroup, now: float) -> Group:
    """Return ``group``, or a new one of ``key``, with members that may have fired before the data loss."""
    if group is not None and group.is_firing:
        return msgspec.structs.replace(group, assumed_members=_union(group.assumed_members, assumed.members))
    if group is None or not group.is_reconciling:
        opened = now if group is None else max(now, group.opened + 0.001)  # ids must stay unique
        group = Group(key=key, labels=assumed.labels, opened=opened, is_reconciling=True)
    return msgspec.structs.replace(
        group,
        assumed_members=_union(group.assumed_members, assumed.members),
        possibly_notified=_union(group.possibly_notified, assumed.receivers),
    )


def _union(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return each of ``names`` and ``others`` once, in their order."""
    return tuple(dict.fromkeys([*names, *others]))
