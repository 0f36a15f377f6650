"""Groups firing alerts by route and ``group_by`` labels, and decides when notifications are due. Pure.

An incident is added to a group when it fires and is not muted, and stays in it until the group resolves. Notifications
are put in the outbox. ``group_wait`` and the intervals apply to event receivers only: a state receiver groups alerts by
itself and gets every member at once.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from streamcanary.alerting.builtin_rules import DAEMON_RULES, RECEIVER_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.grouping.inhibition import Inhibition
from streamcanary.alerting.engine.grouping.muting import Muter
from streamcanary.alerting.engine.keys import group_key
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.routing import route_for
from streamcanary.model.alerts.incident import Group, Incident

_REOPEN_STEP: Final = 0.001
"""Minimum seconds by which a group that opens again is later than before, so that notification ids stay unique."""


class Groups:
    """The grouping of one configuration. ``inhibition`` says which incidents may inhibit which."""

    def __init__(self, config: AlertsConfig, instance: str, inhibition: Inhibition) -> None:
        self._instance = instance
        self._group_by = config.group_by
        self._group_wait, self._group_interval, self._repeat_interval = (
            config.group_wait,
            config.group_interval,
            config.repeat_interval,
        )
        self._routes = config.effective_routes
        self._receivers = config.receivers
        self._muter = Muter(
            config.maintenance, inhibition, self.receivers_for, lambda name: not self.event_receivers([name])
        )

    # ---- receivers

    def receivers_for(self, incident: Incident) -> tuple[str, ...]:
        """Return the receivers of ``incident``.

        ``ReceiverFailing`` goes to the other receivers of its route; if there are none, to all other receivers.
        """
        route = route_for(self._routes, incident.labels)
        names = tuple(dict.fromkeys(route.receivers if route else ()))
        if incident.rule != RECEIVER_FAILING:
            return names
        others = tuple(name for name in names if name != incident.subject)
        return others or tuple(name for name in self._receivers if name != incident.subject)

    def event_receivers(self, receivers: Iterable[str]) -> list[str]:
        """Return the event receivers among ``receivers``, in their order."""
        return [name for name in receivers if name in self._receivers and not self._receivers[name].is_state_receiver]

    def _is_state_receiver(self, receiver: str) -> bool:
        return receiver in self._receivers and self._receivers[receiver].is_state_receiver

    def reconciling_receivers(self, receivers: Iterable[str]) -> list[str]:
        """Return the event receivers that are sent resolves of alerts that they may not have, after a data loss."""
        return [name for name in self.event_receivers(receivers) if self._receivers[name].can_reconcile]

    def key_and_labels(self, incident: Incident, key_parts: tuple[str, str]) -> tuple[str, dict[str, str]]:
        """Return the key and the labels of the group that ``incident`` belongs to.

        ``key_parts`` are the names of the rule and of the subject in keys: the former name if one was renamed.
        """
        labels = {**incident.labels, "alert": incident.rule}
        shared = {name: labels[name] for name in self._group_by if labels.get(name)}
        if _is_about_daemon(incident):  # alerts about different parts of the daemon have different receivers
            shared |= {"alert": incident.rule, "subject": incident.subject}
        key_labels = {**shared, **({"alert": key_parts[0]} if "alert" in shared else {})}
        if "canary" in key_labels:
            key_labels["canary"] = key_parts[1]
        route = route_for(self._routes, incident.labels)
        matchers = ",".join(sorted(map(str, route.match))) if route else ""
        return group_key(
            self._instance, matchers, *(part for label in sorted(key_labels.items()) for part in label)
        ), shared

    # ---- flushes

    def add(
        self, draft: Draft, incident: Incident, key_parts: tuple[str, str], now: float, *, evaluate: bool = True
    ) -> None:
        """Add a firing incident to its group, unless it is muted.

        With ``evaluate=False`` the caller has to evaluate the group afterwards.
        """
        if self._muter.mute_reason(draft, incident, now) is not None:
            return
        key, labels = self.key_and_labels(incident, key_parts)
        group = draft.groups.get(key)
        if group is None or not group.is_firing:
            opened = incident.opened if group is None else max(incident.opened, group.opened + _REOPEN_STEP)
            before = group if group is not None and group.is_reconciling else None
            group = Group(
                key=key,
                labels=labels,
                opened=opened,
                possibly_notified=before.possibly_notified if before is not None else (),
                assumed_members=before.possibly_firing if before is not None else (),
            )
        members = tuple(dict.fromkeys([*group.members, incident.key]))
        routed = self.receivers_for(incident)
        if group.notified_members:  # new event receivers are notified at the next flush
            routed = tuple(name for name in routed if self._is_state_receiver(name))
        receivers = tuple(dict.fromkeys([*group.receivers, *routed]))
        group = msgspec.structs.replace(group, members=members, receivers=receivers)
        draft.put(group)
        due = (
            incident.opened + self._group_wait if group.last_flush is None else group.last_flush + self._group_interval
        )
        if evaluate and (_is_about_daemon(incident) or not _is_flush_pending(group, due, now)):
            self.evaluate(draft, group, now)

    def transfer(self, draft: Draft, incident: Incident, now: float) -> bool:
        """Remove ``incident``, which fires again, from its earlier groups; return whether a group keeps it.

        A firing group keeps it if its receivers are not yet notified that it had resolved. The other groups must drop
        it, because they would send it to state receivers even while it is muted.
        """
        for group in draft.groups_containing(incident.key):
            if group.is_reconciling:  # event receivers still get the resolve; state receivers must not get its members
                draft.put(msgspec.structs.replace(group, receivers=tuple(self.event_receivers(group.receivers))))
                continue
            if group.is_firing and incident.key in group.notified_members:
                self.evaluate(draft, group, now)
                return True
            members = tuple(key for key in group.members if key != incident.key)
            draft.put(msgspec.structs.replace(group, members=members))
        return False

    def on_incident_resolved(self, draft: Draft, key: str, now: float) -> None:
        """Evaluate the groups of the incident of ``key``, which has resolved.

        A group that still fires and has a pending flush is left for that flush.
        """
        for group in draft.groups_containing(key):  # the key may have been computed for another instance name
            if not group.is_firing:
                continue
            due = (group.last_flush or now) + self._group_interval
            is_still_firing = any(
                (member := draft.incidents.get(member_key)) is not None and member.is_firing
                for member_key in group.notified_members
            )
            if not is_still_firing or not _is_flush_pending(group, due, now):
                self.evaluate(draft, group, now)

    def evaluate(self, draft: Draft, group: Group, now: float) -> None:
        """Flush ``group`` if that is due at ``now`` (seconds since the epoch), else set when it is due.

        A group without firing members resolves.
        """
        if group.last_flush is not None and group.last_flush > now:  # the clock was set back; waits must not get longer
            group = msgspec.structs.replace(group, last_flush=now)
        members = [draft.incidents[key] for key in group.members if key in draft.incidents]
        notified = frozenset(group.notified_members)
        muted = {
            incident.key
            for incident in members
            if incident.is_firing and self._muter.mute_reason(draft, incident, now) is not None
        }
        firing = [
            incident
            for incident in members
            if incident.is_firing and (incident.key in notified or incident.key not in muted)
        ]
        resolved = [incident for incident in members if incident.key in notified and not incident.is_firing]
        if not firing:
            self._resolve(draft, group, tuple(resolved), now)
            return
        if notified:
            group = self._notify_late_receivers(draft, group, members, muted, now)
        new = [incident for incident in firing if incident.key not in notified]
        leading = [incident for incident in new if incident.scope and incident.key not in muted]
        held = [
            incident
            for incident in new
            if leading
            and (group.last_flush is None or incident.opened > group.last_flush)  # waits for one flush only
            and self._muter.is_covered(incident, leading)
        ]
        any_unmuted = any(incident.key not in muted for incident in firing)
        repeats = any_unmuted and not self._is_repeat_suppressed(draft, firing)
        sent = group.last_flush
        news = [
            incident
            for incident in firing
            if sent is not None
            and incident.key in notified - muted
            and self._muter.hides_news(draft, incident, sent, now)
        ]
        due = self._next_flush(group, new or news, resolved, repeats=repeats, now=now)
        if due is not None and due <= now:
            # the wider alert is notified first; the alerts that it will inhibit wait until it is accepted
            flushed = [incident for incident in firing if incident not in held]
            group = self._flush(draft, group, flushed, resolved, now, any_unmuted=any_unmuted)
            due = self._next_flush(group, held, [], repeats=repeats, now=now)
        if due != group.next_flush or group is not draft.groups.get(group.key):
            draft.put(msgspec.structs.replace(group, next_flush=due))

    def _flush(
        self,
        draft: Draft,
        group: Group,
        firing: list[Incident],
        resolved: list[Incident],
        now: float,
        *,
        any_unmuted: bool,
    ) -> Group:
        """Enqueue notifications of the current members of ``group``, with current evidence; return the new group.

        If every firing member is muted (``any_unmuted`` is false), only receivers of the group are notified, and no
        further receivers that its members are routed to.
        """
        for position, incident in enumerate(firing):
            binding_state = draft.detectors.get(incident.key)
            firing[position] = binding_state.update_evidence(incident) if binding_state is not None else incident
            if firing[position] is not incident:
                draft.put(firing[position])
        routed = dict.fromkeys(name for incident in firing for name in self.receivers_for(incident) if any_unmuted)
        receivers = tuple(dict.fromkeys([*group.receivers, *routed]))
        notified = tuple(incident.key for incident in firing)
        # a receiver that is no longer routed to gets updates with changes, but no repeats
        recipients = self.event_receivers(routed if notified == group.notified_members and not resolved else receivers)
        notification_queue.enqueue(draft, group, (*firing, *resolved), recipients, now)
        late = tuple(name for name in group.unnotified_receivers if name not in receivers)
        updated = group.last_flush is not None
        return msgspec.structs.replace(
            group,
            notified_members=notified,
            receivers=receivers,
            unnotified_receivers=late,
            last_flush=now,
            has_sent_update=updated,
        )

    def _notify_late_receivers(
        self, draft: Draft, group: Group, members: list[Incident], muted: set[str], now: float
    ) -> Group:
        """Send late receivers what the others were sent last; while the group is muted, cancel undelivered triggers.

        A receiver whose trigger is cancelled becomes late.
        """
        notified = self._as_last_notified(group, members)
        if any(
            incident.is_firing and incident.key in group.notified_members and incident.key not in muted
            for incident in members
        ):
            if group.unnotified_receivers:
                notification_queue.enqueue(
                    draft, group, notified, self.event_receivers(group.unnotified_receivers), now
                )
                receivers = tuple(dict.fromkeys([*group.receivers, *group.unnotified_receivers]))
                group = msgspec.structs.replace(group, receivers=receivers, unnotified_receivers=())
        elif cancelled := notification_queue.cancel(draft, group, self.event_receivers(group.receivers)):
            receivers = tuple(name for name in group.receivers if name not in cancelled)
            late = tuple(dict.fromkeys([*group.unnotified_receivers, *cancelled]))
            group = msgspec.structs.replace(group, receivers=receivers, unnotified_receivers=late)
        return group

    @staticmethod
    def _as_last_notified(group: Group, members: list[Incident]) -> tuple[Incident, ...]:
        """Return the members that were sent last, as firing; an empty tuple if none of them fires any longer.

        Resolved members are sent as firing here, because a later notification reports their end to all receivers.
        """
        notified = [incident for incident in members if incident.key in group.notified_members]
        if not any(incident.is_firing for incident in notified):
            return ()
        return tuple(msgspec.structs.replace(incident, resolved=None, resolve_reason=None) for incident in notified)

    def _is_repeat_suppressed(self, draft: Draft, firing: list[Incident]) -> bool:
        """Return whether a repeat would be noise: all members are failing receivers with nothing undelivered."""
        return all(
            incident.rule == RECEIVER_FAILING and not notification_queue.has_undelivered(draft, incident.subject)
            for incident in firing
        )

    def _next_flush(
        self, group: Group, new: list[Incident], resolved: list[Incident], *, repeats: bool, now: float
    ) -> float | None:
        """Return when the next flush is due; ``None`` if none is. A clock that was set back makes no wait longer."""
        if group.last_flush is None:
            since = min(now, *(incident.opened for incident in new))
            wait = 0.0 if any(_is_about_daemon(incident) for incident in new) else self._group_wait
            return since + wait if group.next_flush is None else min(since + wait, group.next_flush)
        if new:
            return group.last_flush + self._group_interval
        if resolved:  # wait, as all members may resolve soon, and then the resolve is sent at once
            ends = [
                incident.resolved for incident in resolved if incident.resolved is not None and incident.resolved <= now
            ]
            return max([group.last_flush + self._group_interval, *(end + self._group_wait for end in sorted(ends)[:1])])
        return group.last_flush + self._repeat_interval if repeats else None

    def _resolve(self, draft: Draft, group: Group, resolved: tuple[Incident, ...], now: float) -> None:
        """Resolve ``group``, which has no firing members, and enqueue the resolve to notified receivers."""
        ends = [incident.resolved for incident in resolved if incident.resolved is not None]
        group = msgspec.structs.replace(group, resolved=max([group.opened, *ends]) if ends else now, next_flush=None)
        group = self._defer_resolve(draft, group)
        not_notified = set(event_receivers := self.event_receivers(group.receivers))
        if group.notified_members:
            not_notified = notification_queue.enqueue_resolve(draft, group, resolved, event_receivers, now)
            receivers = tuple(name for name in group.receivers if name not in not_notified)
            group = msgspec.structs.replace(group, receivers=receivers)
        notified = [name for name in event_receivers if name not in not_notified]
        if possibly_notified := tuple(name for name in group.possibly_notified if name not in notified):
            state_receivers = tuple(name for name in group.receivers if name not in event_receivers)
            group = msgspec.structs.replace(
                group, receivers=state_receivers, possibly_notified=possibly_notified, is_reconciling=True
            )
        draft.put(group)

    def _defer_resolve(self, draft: Draft, group: Group) -> Group:
        """Defer the resolve of ``group`` if another member may have fired before a data loss, and would still fire.

        To receivers that may have the group from before, an alert of that member is still open. The notifications of
        this opening are removed: the deferred resolve ends it, too.
        """
        assumed = tuple(key for key in group.assumed_members if draft.is_assumed_firing(key))
        if not assumed:
            return group
        candidates = dict.fromkeys([*group.possibly_notified, *group.receivers])
        receivers = self.reconciling_receivers(candidates)
        never_received = notification_queue.remove_all(draft, group, receivers)
        deferred = [name for name in receivers if name in group.possibly_notified or name not in never_received]
        return msgspec.structs.replace(
            group,
            assumed_members=assumed,
            receivers=tuple(name for name in group.receivers if name not in receivers),
            possibly_notified=tuple(dict.fromkeys([*group.possibly_notified, *deferred])),
        )

    # ---- with a new configuration

    def reroute(self, draft: Draft, group: Group, now: float) -> None:
        """Apply the current routes to ``group``. Receivers that were notified before still get the resolve.

        If the group was notified before, newly routed event receivers are late receivers: they get what the others were
        sent last. A trigger that a receiver refused is sent again, because the receiver may have been repaired.
        """
        members = [draft.incidents[key] for key in group.members]
        routed = tuple(
            dict.fromkeys(name for incident in members if incident.is_firing for name in self.receivers_for(incident))
        )
        never_notified = notification_queue.never_notified(draft, group, group.receivers)
        kept = [
            name
            for name in group.receivers
            if self._is_state_receiver(name) or name in self.event_receivers(group.receivers)
        ]
        kept = [name for name in kept if self._is_state_receiver(name) or name not in never_notified]
        added = [name for name in routed if not group.notified_members or self._is_state_receiver(name)]
        receivers = tuple(dict.fromkeys([*kept, *added]))
        late = tuple(name for name in self.event_receivers(routed) if name not in receivers)
        if (receivers, late) != (group.receivers, group.unnotified_receivers):
            group = msgspec.structs.replace(group, receivers=receivers, unnotified_receivers=late)
            draft.put(group)
        self._retry_refused(draft, group, self.event_receivers(routed), now)

    def on_receiver_recovered(self, draft: Draft, receiver: str, now: float) -> None:
        """Send ``receiver``, which accepts notifications again, those that it refused."""
        refused = notification_queue.refused_notifications(draft, receiver)
        for notification in refused:
            group = draft.groups.get(notification.group)
            if group is not None and group.is_firing and group.opened == notification.opened:
                self._retry_refused(draft, group, [receiver], now)
        notification_queue.retry_refused_resolves(draft, refused, now)

    def _retry_refused(self, draft: Draft, group: Group, receivers: list[str], now: float) -> None:
        members = [draft.incidents[key] for key in group.notified_members if key in draft.incidents]
        if any(incident.is_firing and self._muter.mute_reason(draft, incident, now) is None for incident in members):
            notification_queue.retry_refused_trigger(
                draft, group, self._as_last_notified(group, members), receivers, now
            )


def _is_flush_pending(group: Group, due: float, now: float) -> bool:
    """Return whether a flush of ``group`` is pending, no later than ``due``.

    Many members that are added at once then cost one evaluation.
    """
    return group.next_flush is not None and now < group.next_flush <= due


def _is_about_daemon(incident: Incident) -> bool:
    """Return whether ``incident`` is about a part of the daemon."""
    return incident.rule in DAEMON_RULES
