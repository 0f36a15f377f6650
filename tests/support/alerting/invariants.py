"""Invariants of each engine step, and a model of what a receiver may get."""

from collections import Counter

from streamcanary.alerting.builtin_rules import (
    BEHIND_SCHEDULE,
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    NO_DATA,
    RECEIVER_FAILING,
    RELOAD_FAILED,
    STORE_FAILING,
)
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.evaluation.reachability import UNREACHABLE_FAULTS
from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import (
    ConfigAccepted,
    ConfigReloaded,
    Input,
    RunFinished,
    SendFinished,
    Started,
    StateReceiverReported,
    StoreRecovered,
)
from streamcanary.alerting.engine.recovery.reconciliation import RECONCILED_REASON
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.delivery.result import Accepted
from streamcanary.model.alerts.incident import Action, Group, Incident, Notification, NotificationState
from streamcanary.model.alerts.matcher import all_match
from streamcanary.model.outcome import Outcome, OutcomeKind

MAX_NOTIFICATIONS_PER_GROUP = 4
"""Per group and receiver: trigger and resolve of the last incident period, trigger and update of the current one."""


def check_step_invariants(
    engine: Engine, config: AlertsConfig, before: State, received: Input, after: State, now: float
) -> None:
    """Assert the invariants of a step."""
    _check_no_spontaneous_resolve(engine, before, received, after)
    _check_one_group_per_incident(after)
    _check_muted_not_notified(config, before, after, now)
    _check_receivers_notified(engine, after)
    kept = Counter((notification.receiver, notification.group) for notification in after.notifications.values())
    assert max(kept.values(), default=0) <= MAX_NOTIFICATIONS_PER_GROUP
    for receiver in config.receivers:
        keys = [incident.key for incident in active_alerts(after, receiver, now)]
        assert len(keys) == len(set(keys))


def is_silenced(config: AlertsConfig, state: State, incident: Incident, now: float) -> bool:
    """Return whether a silence or a maintenance window matches ``incident``."""
    labels = {**incident.labels, "alert": incident.rule}
    return any(
        silence.starts <= now < silence.until and silence.matches(labels) for silence in state.silences.values()
    ) or any(all_match(window.match, labels) and window.is_open(now) for window in config.maintenance.values())


def check_inhibitor_is_known(engine: Engine, state: State, incident: Incident) -> None:
    """Assert that of two alerts of a rule that could mute each other, receivers have one, or had it until it ended."""
    inhibitors = engine.bindings.inhibition.of(incident.key)
    keys = {*inhibitors.any_of, *(key for each in inhibitors.by_member.values() for key in each)}
    others = [other for key in keys if (other := state.incidents.get(key)) is not None]
    known = {key for group in state.groups.values() if group.is_firing for key in group.notified_members}
    known |= {key for group in state.groups.values() if "prom" in group.receivers for key in group.members}
    has_receivers = bool(engine.groups.receivers_for(incident))
    assert any(not other.is_firing or other.key in known for other in others) or not has_receivers


def _check_no_spontaneous_resolve(engine: Engine, before: State, received_input: Input, after: State) -> None:
    for key, incident in before.incidents.items():
        if incident.is_firing:
            later = after.incidents[key]
            assert later.opened == incident.opened
            may_resolve = later.is_firing or _may_resolve(engine, before, later, received_input)
            assert may_resolve or _has_recovered_with_wider(engine, before, later, after), (later, received_input)
    for key, group in before.groups.items():
        if group.is_firing:
            assert after.groups[key].opened == group.opened


def _has_recovered_with_wider(engine: Engine, before: State, incident: Incident, after: State) -> bool:
    """Return whether ``incident``, which no receiver has, resolved at the same time as a wider alert of its rule."""
    is_sent = any(incident.key in group.notified_members for group in before.groups.values() if group.is_firing)
    return not is_sent and any(
        key in before.incidents
        and before.incidents[key].is_firing
        and not after.incidents[key].is_firing
        and before.incidents[key].rule == incident.rule
        for key in engine.bindings.inhibition.of(incident.key).any_of
    )


def _may_resolve(engine: Engine, before: State, incident: Incident, received_input: Input) -> bool:
    """Return whether the input may resolve ``incident``."""
    match received_input:
        case Started() | ConfigReloaded():
            reason = str(incident.resolve_reason)
            is_gone = "removed from the configuration" in reason or "is now called" in reason
            return is_gone or (incident.rule == RELOAD_FAILED and isinstance(received_input, Started))
        case ConfigAccepted():
            return incident.rule == RELOAD_FAILED
        case SendFinished(notification_id=notification, result=Accepted()):
            return incident.rule == RECEIVER_FAILING and incident.subject == before.notifications[notification].receiver
        case StateReceiverReported(receiver=receiver, result=Accepted()):
            return incident.rule == RECEIVER_FAILING and incident.subject == receiver
        case StoreRecovered():
            return incident.rule == STORE_FAILING
        case RunFinished(outcome=outcome):
            return _may_resolve_by_run(engine, incident, outcome)
        case _:
            return False


def _may_resolve_by_run(engine: Engine, incident: Incident, outcome: Outcome) -> bool:
    if outcome.kind in (OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR):
        return False
    if incident.rule == BUDGET_EXHAUSTED:
        return True
    if incident.rule == BEHIND_SCHEDULE:
        return not outcome.behind_schedule
    if incident.rule == CANARY_EGRESS_DOWN:
        return outcome.fault is None or outcome.fault.kind not in UNREACHABLE_FAULTS
    binding = engine.bindings.get(incident.key)
    if binding is None or outcome.canary not in {canary.name for canary in binding.canaries}:
        return False
    return incident.rule == NO_DATA or outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW)


def _check_one_group_per_incident(state: State) -> None:
    group_counts = Counter(key for group in state.groups.values() if group.is_firing for key in set(group.members))
    assert {key for key, count in group_counts.items() if count > 1 and state.incidents[key].is_firing} == set()


def _check_muted_not_notified(config: AlertsConfig, before: State, after: State, now: float) -> None:
    for key, group in after.groups.items():
        former = before.groups.get(key)
        known = set(former.notified_members) if former is not None and former.opened == group.opened else set()
        for member in set(group.notified_members) - known:
            assert not is_silenced(config, after, after.incidents[member], now)
    for notification in after.notifications.values():
        earlier = before.notifications.get(notification.id)
        is_new = earlier is None or (
            earlier.state is NotificationState.PARKED and notification.state is NotificationState.PENDING
        )
        if notification.action is Action.TRIGGER and is_new:
            firing = [member for member in notification.members if member.is_firing]
            assert not all(is_silenced(config, after, member, now) for member in firing), "trigger of a muted group"
    for receiver in config.receivers:
        if config.receivers[receiver].is_state_receiver:
            sent = {(incident.key, incident.opened) for incident in active_alerts(before, receiver, now)}
            groups = [group for group in before.groups.values() if group.is_firing]
            notified = {key for group in groups for key in group.notified_members}
            sent |= {(key, before.incidents[key].opened) for group in groups for key in group.members}
            for incident in active_alerts(after, receiver, now):
                if incident.is_firing and (incident.key, incident.opened) not in sent and incident.key not in notified:
                    assert not is_silenced(config, after, incident, now)


def _check_receivers_notified(engine: Engine, state: State) -> None:
    """Assert that each event receiver of a notified group has a trigger, delivered or not."""
    pages = {
        (notification.receiver, notification.group, notification.opened)
        for notification in state.notifications.values()
        if notification.action is Action.TRIGGER
    }
    for group in state.groups.values():
        if group.is_firing and group.notified_members:
            for receiver in engine.groups.event_receivers(group.receivers):
                assert (receiver, group.key, group.opened) in pages


class ReceiverModel:
    """Models one event receiver: the notifications it received, and which alerts fire according to them.

    ``possibly_notified`` has the group and start time of each trigger that may have arrived: only for these an update
    or resolve may arrive without its trigger. ``groups_with_refusal`` are groups whose last notification was refused,
    ``groups_before_store_loss`` are groups that were firing before the store was lost.
    """

    def __init__(self) -> None:
        self.notifications_by_group: dict[str, list[Notification]] = {}
        self.firing_by_group: dict[str, set[str]] = {}
        self.possibly_notified: set[tuple[str, float]] = set()
        self.groups_with_refusal: set[str] = set()
        self.groups_before_store_loss: set[str] = set()

    def receive(self, notification: Notification) -> None:
        """Receive a notification, and assert that it is in order."""
        received = self.notifications_by_group.setdefault(notification.group, [])
        duplicate = next((former for former in received if former.id == notification.id), None)
        if duplicate is not None:
            assert received[-1].id == notification.id, "duplicate after a newer notification"
            assert duplicate.members == notification.members, "one id for two notifications"
            return
        self._check_order(received, notification)
        received.append(notification)
        self.groups_with_refusal.discard(notification.group)
        self.groups_before_store_loss.discard(notification.group)
        self.firing_by_group[notification.group] = {member.key for member in notification.members if member.is_firing}
        if notification.action is Action.RESOLVE:
            assert not self.firing_by_group.pop(notification.group)
        else:
            assert self.firing_by_group[notification.group]

    def _check_order(self, received: list[Notification], notification: Notification) -> None:
        last = received[-1] if received else None
        if notification.action is Action.TRIGGER:
            assert last is None or last.opened < notification.opened, "second trigger of one incident period"
            assert last is None or last.action is Action.RESOLVE or self._is_possibly_notified(last), (
                "trigger without the resolve of the last period"
            )
            return
        if self._is_possibly_notified(notification) or {member.resolve_reason for member in notification.members} == {
            RECONCILED_REASON
        }:
            return
        assert last is not None, "no trigger received"
        assert last.opened == notification.opened, "trigger of this period not received"
        assert last.action is not Action.RESOLVE, "already resolved"

    def _is_possibly_notified(self, notification: Notification) -> bool:
        return (notification.group, notification.opened) in self.possibly_notified

    def record_refusal(self, notification: Notification, settled: Notification | None) -> None:
        """Record a refusal; ``settled`` is the notification after the engine processed it."""
        self.groups_with_refusal.add(notification.group)
        if notification.action is Action.RESOLVE or (settled is not None and not settled.was_never_received):
            self.possibly_notified.add((notification.group, notification.opened))

    def mark_possibly_notified(self) -> None:
        """Mark every received notification as uncertain, because the store cannot be read."""
        self.possibly_notified |= {
            (notification.group, notification.opened)
            for received in self.notifications_by_group.values()
            for notification in received
        }
        self.notifications_by_group.clear()

    def mark_resolve_deferred(self, group: Group) -> None:
        """Mark the trigger of ``group`` as uncertain: after a data loss it is resolved with other alerts, later."""
        self.possibly_notified.add((group.key, group.opened))

    def reset(self) -> None:
        """Forget all notifications, because the receiver was removed or the store was lost."""
        self.notifications_by_group.clear()
        self.possibly_notified.clear()
        self.groups_before_store_loss = set(self.firing_by_group)
