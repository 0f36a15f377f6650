"""Muting of incidents by silences, maintenance windows and inhibition."""

from collections.abc import Callable, Collection, Mapping

from streamcanary.alerting.builtin_rules import CANARY_EGRESS_DOWN
from streamcanary.alerting.engine.grouping.inhibition import Inhibition, Inhibitors
from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.model.alerts.incident import Action, Group, Incident, NotificationState
from streamcanary.model.alerts.matcher import all_match


class Muter:
    """Decides whether an incident is muted.

    ``windows`` are the maintenance windows by name. ``inhibition`` says which incidents may inhibit which.
    ``receivers_for`` returns the receivers of an incident, ``is_state_receiver`` whether a receiver is one of state.
    """

    def __init__(
        self,
        windows: Mapping[str, Maintenance],
        inhibition: Inhibition,
        receivers_for: Callable[[Incident], tuple[str, ...]],
        is_state_receiver: Callable[[str], bool],
    ) -> None:
        self._windows = windows
        self._inhibition = inhibition
        self._receivers_for = receivers_for
        self._is_state_receiver = is_state_receiver

    def mute_reason(self, draft: Draft, incident: Incident, now: float) -> str | None:
        """Return why ``incident`` is muted at ``now`` (seconds since the epoch); ``None`` if it is not."""
        if reason := self._user_reason(draft, incident, now):
            return reason
        inhibitors = self._inhibition.of(incident.key)
        for key in inhibitors.any_of:
            other = draft.incidents.get(key)
            if other is not None and self._inhibits(draft, other, incident, now):
                return f"inhibited by {_name(other, incident)}"
        return self._reason_by_members(draft, incident, inhibitors, now) if inhibitors.by_member else None

    def hides_news(self, draft: Draft, incident: Incident, since: float, now: float) -> bool:
        """Return whether the pooled ``incident`` mutes an alert about a canary that it did not name when it was sent.

        The alert opened after that, at ``since``, and the canary would be named now. Times are seconds since the epoch.
        """
        state = draft.detectors.get(incident.key)
        if not incident.scope or state is None:
            return False
        named = {member.name for member in incident.evidence.failing}  # as in the last notification
        by_member = self._inhibition.of(incident.key).by_member
        keys = (key for one in state.members.failing if one.name not in named for key in by_member.get(one.name, ()))
        return any(
            other is not None
            and other.is_firing
            and other.rule == incident.rule
            and other.opened > since
            and not draft.groups_containing(other.key)
            and self._user_reason(draft, other, now) is None
            and self._inhibits(draft, incident, other, now)
            for other in map(draft.incidents.get, keys)
        )

    def _user_reason(self, draft: Draft, incident: Incident, now: float) -> str | None:
        return self._reason_by_user(draft, {**incident.labels, "alert": incident.rule}, now)

    def _reason_by_user(self, draft: Draft, labels: dict[str, str], now: float) -> str | None:
        """Return the silence or maintenance window that mutes an alert with ``labels``; ``None`` if there is none."""
        for silence in draft.silences.values():
            if silence.is_active(now) and silence.matches(labels):
                return f"silence {silence.id}"
        for name, window in self._windows.items():
            if all_match(window.match, labels) and window.is_open(now):
                return f"maintenance {name}"
        return None

    def _reason_by_members(self, draft: Draft, incident: Incident, inhibitors: Inhibitors, now: float) -> str | None:
        """Return why a pooled ``incident`` says nothing new; ``None`` if it does.

        It does not if each member that certainly fails is silenced or has an alert of its own that receivers have. If
        none fails so certainly, that holds for those that probably do; and if none does, one such member is enough:
        it has recovered, and the pooled alert is about to. It is never muted for that once receivers have it. So of two
        alerts that could mute each other, the one that receivers have is not muted, and its end is not hidden by the
        other.
        """
        state = draft.detectors.get(incident.key)
        if state is None or state.members.is_full or self._is_in_notifications(draft, incident):
            return None
        members = state.members
        reasons = (
            self._member_reason(draft, incident, member.name, inhibitors, now)
            for member in members.certainly_failing or members.probably_failing
        )
        first = next(reasons, "")
        if first == "":
            known = (
                self._member_reason(draft, incident, one.name, inhibitors, now) for one in members.counted if one.bad
            )
            return next((reason for reason in known if reason), None)
        return first if all(reasons) else None

    def _member_reason(
        self, draft: Draft, incident: Incident, canary: str, inhibitors: Inhibitors, now: float
    ) -> str | None:
        """Return why the failures of ``canary`` are nothing new in the pooled ``incident``; ``None`` if they are."""
        others = (draft.incidents.get(key) for key in inhibitors.by_member.get(canary, ()))
        other = next((one for one in others if one is not None and self._covers(draft, one, incident, now)), None)
        if other is not None:
            return f"inhibited by {_name(other, incident)}"
        return self._reason_by_user(draft, self._inhibition.member_labels(incident.key, canary), now)

    def _covers(self, draft: Draft, other: Incident, incident: Incident, now: float) -> bool:
        """Return whether ``other``, of a member of the pooled ``incident``, inhibits it as far as that member goes.

        An alert of the same rule must have been opened before: of two at once, the pooled one is notified.
        """
        if other.rule == incident.rule and not other.opened < incident.opened:
            return False
        return self._inhibits(draft, other, incident, now)

    def _is_in_notifications(self, draft: Draft, incident: Incident) -> bool:
        """Return whether a receiver has, or is about to get, ``incident`` as firing."""
        return any(
            group.is_firing
            and (incident.key in group.notified_members or any(map(self._is_state_receiver, group.receivers)))
            for group in draft.groups_containing(incident.key)
        )

    def is_covered(self, incident: Incident, others: Collection[Incident]) -> bool:
        """Return whether one of ``others``, of which receivers are not notified yet, will inhibit ``incident``."""
        by_key = {other.key: other for other in others}
        wider = (by_key.get(key) for key in self._inhibition.of(incident.key).any_of)
        return any(
            other is not None
            and incident.opened >= other.first_bad_at
            and _is_about_replicas_of(other, incident.evidence.replicas)
            for other in wider
        )

    def _inhibits(self, draft: Draft, other: Incident, incident: Incident, now: float) -> bool:
        """Return whether ``other`` inhibits ``incident``.

        It does if it began before ``incident`` opened and every receiver of ``incident`` is notified of it. A resolved
        ``other`` still inhibits until the first bad sample after its end. It does not if its end is later than ``now``:
        the clock was set back, and the order of the two is unknown. A pooled alert that is itself silenced, or in a
        maintenance window, inhibits only what it has reported: nobody would be notified of the next canary to fail.
        ``CanaryEgressDown`` of some replicas inhibits only what no other replica has seen.
        """
        if (
            other.rule == incident.rule
            and other.is_firing
            and self._user_reason(draft, other, now)
            and not self._has_reported(draft, other, incident)
        ):
            return False
        if incident.opened < other.first_bad_at:
            return False
        state = draft.detectors.get(incident.key)
        replicas = incident.evidence.replicas if state is None else state.evidence_log.replicas
        if not _is_about_replicas_of(other, replicas):
            return False
        if other.resolved is not None:
            binding_state = draft.detectors.get(incident.key)
            if binding_state is None or not binding_state.evidence_log.last_bad_at <= other.resolved <= now:
                return False
        return all(self._is_notified_of(draft, receiver, other) for receiver in self._receivers_for(incident))

    def _has_reported(self, draft: Draft, pooled: Incident, incident: Incident) -> bool:
        """Return whether the last notification of ``pooled`` named the canaries of ``incident``, which failed then."""
        sent = [
            group.last_flush
            for group in draft.groups_containing(pooled.key)
            if group.is_firing and group.last_flush is not None and pooled.key in group.notified_members
        ]
        if not sent or incident.first_bad_at > max(sent):
            return False
        named = {member.name for member in pooled.evidence.failing}  # as in the last notification
        return pooled.evidence.has_more_failing or self._inhibition.canaries_of(incident.key) <= named

    def notified_receivers(self, draft: Draft, incident: Incident) -> tuple[str, ...]:
        """Return the receivers that are notified of ``incident``, which fires; state receivers count as notified."""
        receivers = dict.fromkeys(name for group in draft.groups_containing(incident.key) for name in group.receivers)
        return tuple(name for name in receivers if self._is_notified_of(draft, name, incident))

    def _is_notified_of(self, draft: Draft, receiver: str, other: Incident) -> bool:
        """Return whether ``receiver`` is notified of ``other``. A state receiver gets both alerts at the same time."""
        groups = [group for group in draft.groups_containing(other.key) if receiver in group.receivers]
        if self._is_state_receiver(receiver):
            return bool(groups)
        return any(_is_accepted(draft, receiver, group, other) for group in groups)


def _is_about_replicas_of(other: Incident, replicas: Collection[str]) -> bool:
    """Return whether ``other`` is about all of ``replicas``, which have seen another alert, or about the daemon."""
    return (
        other.rule != CANARY_EGRESS_DOWN or not other.evidence.replicas or set(replicas) <= {*other.evidence.replicas}
    )


def _name(other: Incident, incident: Incident) -> str:
    """Return the name of the alert ``other`` that inhibits ``incident``, with the subject if only that differs."""
    return f"{other.rule} of {other.subject}" if other.rule == incident.rule else other.rule


def _is_accepted(draft: Draft, receiver: str, group: Group, other: Incident) -> bool:
    """Return whether ``receiver`` has accepted a notification of ``other`` as a firing member of ``group``.

    A resolved group that was flushed counts as accepted.
    """
    if not group.is_firing:
        return group.last_flush is not None
    trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
    if (
        trigger is None
        or trigger.state is not NotificationState.ACCEPTED
        or (other.is_firing and other.key not in group.notified_members)
    ):
        return False
    if trigger.accepted_updates.get(other.key) == other.opened:
        return True
    return any(member.key == other.key for member in trigger.members) or not any(
        notification.receiver == receiver
        and notification.group == group.key
        and notification.state is NotificationState.PENDING
        for notification in draft.notifications.values()
    )
