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
from streamcanary.alerting.engine.active_alerts import standing
from streamcanary.alerting.engine.inputs import Answered, Input, LevelAnswered, Ran, Started, StoreRecovered
from streamcanary.alerting.engine.reachability import UNREACHABLE
from streamcanary.alerting.engine.reconciliation import RECALLED
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.receivers.delivery_result import Accepted
from streamcanary.model.alerts.incident import Action, Incident, Notice, Progress
from streamcanary.model.alerts.matcher import all_match
from streamcanary.model.outcome import Outcome, OutcomeKind

MOST_NOTICES = 4
"""Of one group to one receiver: the page and the end of the last opening, and the page of this one with an update."""


def check_step(engine: Engine, config: AlertsConfig, before: State, given: Input, after: State, now: float) -> None:
    """Hold a step against all that is promised of every step."""
    _nothing_ends_by_itself(engine, before, given, after)
    _each_is_in_one_group(after)
    _nothing_muted_is_news(config, before, after, now)
    _whoever_is_to_know_is_told(engine, after)
    kept = Counter((notice.receiver, notice.group) for notice in after.notices.values())
    assert max(kept.values(), default=0) <= MOST_NOTICES
    for receiver in config.receivers:
        keys = [incident.key for incident in standing(after, receiver, now)]
        assert len(keys) == len(set(keys))


def silenced(config: AlertsConfig, state: State, incident: Incident, now: float) -> bool:
    """Tell whether a silence or a maintenance window is about ``incident``."""
    labels = {**incident.labels, "alert": incident.rule}
    return any(
        silence.starts <= now < silence.until and silence.covers(labels) for silence in state.silences.values()
    ) or any(all_match(window.match, labels) and window.open(now) for window in config.maintenance.values())


def _nothing_ends_by_itself(engine: Engine, before: State, given: Input, after: State) -> None:
    for key, incident in before.incidents.items():
        if incident.firing:
            later = after.incidents[key]
            assert later.opened == incident.opened
            assert later.firing or _may_end(engine, before, later, given), (later, given)
    for key, group in before.groups.items():
        if group.firing:
            assert after.groups[key].opened == group.opened


def _may_end(engine: Engine, before: State, incident: Incident, given: Input) -> bool:
    """Tell whether ``given`` is what an incident may end by."""
    match given:
        case Started():
            return "removed from the configuration" in str(incident.reason) or "is now called" in str(incident.reason)
        case Answered(notice=notice, answer=Accepted()):
            return incident.rule == RECEIVER_FAILING and incident.subject == before.notices[notice].receiver
        case LevelAnswered(receiver=receiver, answer=Accepted()):
            return incident.rule == RECEIVER_FAILING and incident.subject == receiver
        case StoreRecovered():
            return incident.rule == STORE_FAILING
        case Ran(outcome=outcome):
            return _may_end_by_run(engine, incident, outcome)
        case _:
            return False


def _may_end_by_run(engine: Engine, incident: Incident, outcome: Outcome) -> bool:
    if outcome.kind in (OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR):
        return False
    if incident.rule == BUDGET_EXHAUSTED:
        return True
    if incident.rule == CANARY_EGRESS_DOWN:
        return outcome.fault is None or outcome.fault.kind not in UNREACHABLE
    pair = engine.pairs.get(incident.key)
    if pair is None or pair.canary.name != outcome.canary:
        return False
    return incident.rule == NO_DATA or outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW)


def _each_is_in_one_group(state: State) -> None:
    homes = Counter(key for group in state.groups.values() if group.firing for key in set(group.members))
    assert {key for key, homes in homes.items() if homes > 1 and state.incidents[key].firing} == set()


def _nothing_muted_is_news(config: AlertsConfig, before: State, after: State, now: float) -> None:
    for key, group in after.groups.items():
        former = before.groups.get(key)
        known = set(former.said) if former is not None and former.opened == group.opened else set()
        for member in set(group.said) - known:
            assert not silenced(config, after, after.incidents[member], now)
    for notice in after.notices.values():
        earlier = before.notices.get(notice.id)
        fresh = earlier is None or (earlier.state is Progress.PARKED and notice.state is Progress.PENDING)
        if notice.action is Action.TRIGGER and fresh:
            fires = [member for member in notice.members if member.firing]
            assert not all(silenced(config, after, member, now) for member in fires), "a page that is muted"
    for receiver in config.receivers:
        if config.receivers[receiver].level:
            told = {(incident.key, incident.opened) for incident in standing(before, receiver, now)}
            groups = [group for group in before.groups.values() if group.firing]
            said = {key for group in groups for key in group.said}
            told |= {(key, before.incidents[key].opened) for group in groups for key in group.members}
            for incident in standing(after, receiver, now):
                if incident.firing and (incident.key, incident.opened) not in told and incident.key not in said:
                    assert not silenced(config, after, incident, now)


def _whoever_is_to_know_is_told(engine: Engine, state: State) -> None:
    """Of a group that was announced, each of its edge receivers has a page, delivered or not."""
    pages = {
        (notice.receiver, notice.group, notice.opened)
        for notice in state.notices.values()
        if notice.action is Action.TRIGGER
    }
    for group in state.groups.values():
        if group.firing and group.said:
            for receiver in engine.groups.edges(group.receivers):
                assert (receiver, group.key, group.opened) in pages


class Listener:
    """One edge receiver: all that it heard, and what it believes to fire.

    ``doubtful`` are openings of groups of which it got the page or did not, and refused a repetition of it: only of
    these it may hear more without having heard the page. ``missed`` are groups of which it refused the last word,
    ``remembered`` those that it knows from before the store was lost.
    """

    def __init__(self) -> None:
        self.story: dict[str, list[Notice]] = {}
        self.believes: dict[str, set[str]] = {}
        self.doubtful: set[tuple[str, float]] = set()
        self.missed: set[str] = set()
        self.remembered: set[str] = set()

    def hear(self, notice: Notice) -> None:
        """Take a notice; its place in the story must be one where it may be."""
        story = self.story.setdefault(notice.group, [])
        known = next((told for told in story if told.id == notice.id), None)
        if known is not None:
            assert story[-1].id == notice.id, "a repetition after something newer"
            assert known.members == notice.members, "one id for two things"
            return
        self._in_order(story, notice)
        story.append(notice)
        self.missed.discard(notice.group)
        self.remembered.discard(notice.group)
        self.believes[notice.group] = {member.key for member in notice.members if member.firing}
        if notice.action is Action.RESOLVE:
            assert not self.believes.pop(notice.group)
        else:
            assert self.believes[notice.group]

    def _in_order(self, story: list[Notice], notice: Notice) -> None:
        last = story[-1] if story else None
        if notice.action is Action.TRIGGER:
            assert last is None or last.opened < notice.opened, "an opening that comes twice"
            assert last is None or last.action is Action.RESOLVE or self._unsure(last), "the end was not told"
            return
        if self._unsure(notice) or {member.reason for member in notice.members} == {RECALLED}:
            return
        assert last is not None, "nothing of it was heard"
        assert last.opened == notice.opened, "that opening was not heard"
        assert last.action is not Action.RESOLVE, "it is over already"

    def _unsure(self, notice: Notice) -> bool:
        return (notice.group, notice.opened) in self.doubtful

    def refuse(self, notice: Notice, settled: Notice | None) -> None:
        """Take note of a refusal; ``settled`` is what the engine made of it."""
        self.missed.add(notice.group)
        if notice.action is Action.RESOLVE or (settled is not None and not settled.unheard):
            self.doubtful.add((notice.group, notice.opened))

    def doubt(self) -> None:
        """Take note that nobody knows for now what it was told."""
        self.doubtful |= {(notice.group, notice.opened) for story in self.story.values() for notice in story}
        self.story.clear()

    def forget(self) -> None:
        """Begin anew: it was removed, or nobody knows what it was told."""
        self.story.clear()
        self.doubtful.clear()
        self.remembered = set(self.believes)
