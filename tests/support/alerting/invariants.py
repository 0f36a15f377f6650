"""What alerting promises at each step, and what a receiver may hear: held against whatever a test makes happen."""

from collections import Counter

from streamcanary.alerting.builtin_rules import (
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    NO_DATA,
    RECEIVER_FAILING,
    STORE_FAILING,
)
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import (
    Input,
    RunFinished,
    SendFinished,
    Started,
    StateReceiverReported,
    StoreRecovered,
)
from streamcanary.alerting.engine.reachability import UNREACHABLE_FAULTS
from streamcanary.alerting.engine.reconciliation import RECONCILED_REASON
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.receivers.delivery_result import Accepted
from streamcanary.model.alerts.incident import Action, Incident, Notification, NotificationState
from streamcanary.model.alerts.matcher import all_match
from streamcanary.model.outcome import Outcome, OutcomeKind

MAX_NOTIFICATIONS_PER_GROUP = 4
"""Of one group to one receiver: the page and the end of the last opening, and the page of this one with an update."""


def check_step_invariants(
    engine: Engine, config: AlertsConfig, before: State, received: Input, after: State, now: float
) -> None:
    """Hold a step against all that is promised of every step."""
    _check_no_spontaneous_resolve(engine, before, received, after)
    _check_one_group_per_incident(after)
    _check_muted_not_notified(config, before, after, now)
    _check_receivers_notified(engine, after)
    kept = Counter((notice.receiver, notice.group) for notice in after.notifications.values())
    assert max(kept.values(), default=0) <= MAX_NOTIFICATIONS_PER_GROUP
    for receiver in config.receivers:
        keys = [incident.key for incident in active_alerts(after, receiver, now)]
        assert len(keys) == len(set(keys))


def is_silenced(config: AlertsConfig, state: State, incident: Incident, now: float) -> bool:
    """Tell whether a silence or a maintenance window is about ``incident``."""
    labels = {**incident.labels, "alert": incident.rule}
    return any(
        silence.starts <= now < silence.until and silence.matches(labels) for silence in state.silences.values()
    ) or any(all_match(window.match, labels) and window.is_open(now) for window in config.maintenance.values())


def _check_no_spontaneous_resolve(engine: Engine, before: State, given: Input, after: State) -> None:
    for key, incident in before.incidents.items():
        if incident.is_firing:
            later = after.incidents[key]
            assert later.opened == incident.opened
            assert later.is_firing or _may_resolve(engine, before, later, given), (later, given)
    for key, group in before.groups.items():
        if group.is_firing:
            assert after.groups[key].opened == group.opened


def _may_resolve(engine: Engine, before: State, incident: Incident, given: Input) -> bool:
    """Tell whether ``given`` is what an incident may end by."""
    match given:
        case Started():
            return "removed from the configuration" in str(incident.resolve_reason) or "is now called" in str(
                incident.resolve_reason
            )
        case SendFinished(notification_id=notice, result=Accepted()):
            return incident.rule == RECEIVER_FAILING and incident.subject == before.notifications[notice].receiver
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
    if incident.rule == CANARY_EGRESS_DOWN:
        return outcome.fault is None or outcome.fault.kind not in UNREACHABLE_FAULTS
    pair = engine.bindings.get(incident.key)
    if pair is None or pair.canary.name != outcome.canary:
        return False
    return incident.rule == NO_DATA or outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW)


def _check_one_group_per_incident(state: State) -> None:
    homes = Counter(key for group in state.groups.values() if group.is_firing for key in set(group.members))
    assert {key for key, homes in homes.items() if homes > 1 and state.incidents[key].is_firing} == set()


def _check_muted_not_notified(config: AlertsConfig, before: State, after: State, now: float) -> None:
    for key, group in after.groups.items():
        former = before.groups.get(key)
        known = set(former.notified_members) if former is not None and former.opened == group.opened else set()
        for member in set(group.notified_members) - known:
            assert not is_silenced(config, after, after.incidents[member], now)
    for notice in after.notifications.values():
        earlier = before.notifications.get(notice.id)
        fresh = earlier is None or (
            earlier.state is NotificationState.PARKED and notice.state is NotificationState.PENDING
        )
        if notice.action is Action.TRIGGER and fresh:
            fires = [member for member in notice.members if member.is_firing]
            assert not all(is_silenced(config, after, member, now) for member in fires), "a page that is muted"
    for receiver in config.receivers:
        if config.receivers[receiver].is_state_receiver:
            told = {(incident.key, incident.opened) for incident in active_alerts(before, receiver, now)}
            groups = [group for group in before.groups.values() if group.is_firing]
            said = {key for group in groups for key in group.notified_members}
            told |= {(key, before.incidents[key].opened) for group in groups for key in group.members}
            for incident in active_alerts(after, receiver, now):
                if incident.is_firing and (incident.key, incident.opened) not in told and incident.key not in said:
                    assert not is_silenced(config, after, incident, now)


def _check_receivers_notified(engine: Engine, state: State) -> None:
    """Of a group that was announced, each of its edge receivers has a page, delivered or not."""
    pages = {
        (notice.receiver, notice.group, notice.opened)
        for notice in state.notifications.values()
        if notice.action is Action.TRIGGER
    }
    for group in state.groups.values():
        if group.is_firing and group.notified_members:
            for receiver in engine.groups.event_receivers(group.receivers):
                assert (receiver, group.key, group.opened) in pages


class ReceiverModel:
    """One edge receiver: all that it heard, and what it believes to fire.

    ``doubtful`` are openings of groups of which it got the page or did not, and refused a repetition of it: only of
    these it may hear more without having heard the page. ``missed`` are groups of which it refused the last word,
    ``remembered`` those that it knows from before the store was lost.
    """

    def __init__(self) -> None:
        self.notifications_by_group: dict[str, list[Notification]] = {}
        self.firing_by_group: dict[str, set[str]] = {}
        self.possibly_notified: set[tuple[str, float]] = set()
        self.groups_with_refusal: set[str] = set()
        self.groups_before_store_loss: set[str] = set()

    def receive(self, notice: Notification) -> None:
        """Take a notice; its place in the story must be one where it may be."""
        story = self.notifications_by_group.setdefault(notice.group, [])
        known = next((told for told in story if told.id == notice.id), None)
        if known is not None:
            assert story[-1].id == notice.id, "a repetition after something newer"
            assert known.members == notice.members, "one id for two things"
            return
        self._check_order(story, notice)
        story.append(notice)
        self.groups_with_refusal.discard(notice.group)
        self.groups_before_store_loss.discard(notice.group)
        self.firing_by_group[notice.group] = {member.key for member in notice.members if member.is_firing}
        if notice.action is Action.RESOLVE:
            assert not self.firing_by_group.pop(notice.group)
        else:
            assert self.firing_by_group[notice.group]

    def _check_order(self, story: list[Notification], notice: Notification) -> None:
        last = story[-1] if story else None
        if notice.action is Action.TRIGGER:
            assert last is None or last.opened < notice.opened, "an opening that comes twice"
            assert last is None or last.action is Action.RESOLVE or self._is_possibly_notified(last), (
                "the end was not told"
            )
            return
        if self._is_possibly_notified(notice) or {member.resolve_reason for member in notice.members} == {
            RECONCILED_REASON
        }:
            return
        assert last is not None, "nothing of it was heard"
        assert last.opened == notice.opened, "that opening was not heard"
        assert last.action is not Action.RESOLVE, "it is over already"

    def _is_possibly_notified(self, notice: Notification) -> bool:
        return (notice.group, notice.opened) in self.possibly_notified

    def record_refusal(self, notice: Notification, settled: Notification | None) -> None:
        """Take note of a refusal; ``settled`` is what the engine made of it."""
        self.groups_with_refusal.add(notice.group)
        if notice.action is Action.RESOLVE or (settled is not None and not settled.was_never_received):
            self.possibly_notified.add((notice.group, notice.opened))

    def mark_possibly_notified(self) -> None:
        """Take note that nobody knows for now what it was told."""
        self.possibly_notified |= {
            (notice.group, notice.opened) for story in self.notifications_by_group.values() for notice in story
        }
        self.notifications_by_group.clear()

    def reset(self) -> None:
        """Begin anew: it was removed, or nobody knows what it was told."""
        self.notifications_by_group.clear()
        self.possibly_notified.clear()
        self.groups_before_store_loss = set(self.firing_by_group)
