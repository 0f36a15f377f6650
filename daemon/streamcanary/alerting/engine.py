"""The alert engine: one pure ``step`` from a state and an input to the next state, and the rows that change."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from streamcanary.alerting import outbox
from streamcanary.alerting.builtin import BUILTIN, LABELS, RECEIVER_FAILING, STORE_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.inputs import (
    Answered,
    Input,
    LevelAnswered,
    Ran,
    Started,
    StoreFailed,
    StoreRecovered,
    Tick,
    Trying,
)
from streamcanary.alerting.keys import group_key, incident_key
from streamcanary.alerting.receivers.answer import Accepted, Answer, Refused
from streamcanary.alerting.routes import receivers_for
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.sample import Sample, judge
from streamcanary.alerting.state import Draft, State, Watch
from streamcanary.alerting.trail import Trail
from streamcanary.model.canary import Canary
from streamcanary.model.incident import Evidence, Group, Incident
from streamcanary.model.outcome import Outcome
from streamcanary.model.row import Row
from streamcanary.model.secret import scrub


class Pair(NamedTuple):
    """A rule, and a canary that it watches; ``key`` is that of their incident and their detector."""

    key: str
    name: str
    rule: Rule
    canary: Canary


class Engine:
    """The configuration, and the steps that follow from it. It has no state of its own."""

    def __init__(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        self.instance = instance
        self.pairs = {
            key: Pair(key, name, rule, canary)
            for name, rule in config.rules.items()
            for canary in canaries
            if rule.watches(canary)
            for key in (incident_key(instance, name, canary.name),)
        }
        self._pairs_of: dict[str, list[Pair]] = {}
        for pair in self.pairs.values():
            self._pairs_of.setdefault(pair.canary.name, []).append(pair)
        self._rules = config.rules
        self.receivers = config.receivers
        self._edge = frozenset(name for name, receiver in config.receivers.items() if not receiver.level)
        self._routes = config.effective_routes

    def step(self, state: State, input: Input, now: float) -> tuple[State, tuple[Row, ...]]:  # noqa: A002
        """Return the state after ``input`` at ``now`` (seconds since the epoch), and the rows in which it differs.

        The rows of one step belong into one transaction, and what they ask to be sent is sent after it.
        """
        draft = Draft(state)
        match input:
            case Ran(outcome):
                self._ran(draft, outcome, now)
            case Trying(notice):
                outbox.begin(draft, notice, now)
            case Answered(notice, answer, luck):
                settled = outbox.settle(draft, notice, answer, luck, now)
                if settled is not None:
                    about = {member.rule for member in settled.members}
                    self._answered(draft, settled.receiver, answer, about, now)
            case LevelAnswered(receiver, answer):
                self._answered(draft, receiver, answer, set(), now)
            case StoreFailed(reason):
                self._open(draft, self._builtin(STORE_FAILING, "store", reason, now), now)
            case StoreRecovered():
                self._close(draft, self.store_key, now, "the store is written again", now)
            case Started():
                self._reconcile(draft, now)
            case Tick():
                self._tidy(draft, now)
        return draft.finish()

    @property
    def store_key(self) -> str:
        """The key of the incident ``StoreFailing``."""
        return incident_key(self.instance, STORE_FAILING, "store")

    def receiver_key(self, name: str) -> str:
        """Return the key of the incident ``ReceiverFailing`` of a receiver."""
        return incident_key(self.instance, RECEIVER_FAILING, name)

    # ---- from runs to incidents

    def _ran(self, draft: Draft, outcome: Outcome, now: float) -> None:
        at = outcome.started + outcome.duration
        for pair in self._pairs_of.get(outcome.canary, ()):
            sample = judge(pair.rule, outcome)
            if sample is Sample.GOOD or sample is Sample.BAD:
                self._sampled(draft, pair, outcome, at, now, bad=sample is Sample.BAD)

    def _sampled(self, draft: Draft, pair: Pair, outcome: Outcome, at: float, now: float, *, bad: bool) -> None:
        watch = draft.detectors.get(pair.key)
        incident = draft.incidents.get(pair.key)
        firing = incident is not None and incident.firing
        verdict = pair.rule.detector.feed(watch and watch.detector, bad=bad, at=at, firing=firing)
        trail = watch.trail if watch else Trail()
        trail = trail.follow(pair.rule, outcome, bad=bad, at=at, since=verdict.tally.since)
        draft.put_watch(pair.key, Watch(verdict.state, trail))
        if verdict.firing and not firing:
            self._open(draft, self._incident(pair, at, trail.evidence(verdict.tally)), now)
        elif firing and not verdict.firing:
            self._close(draft, pair.key, at, verdict.tally.recovery, now)

    def _incident(self, pair: Pair, at: float, evidence: Evidence) -> Incident:
        canary = pair.canary
        return Incident(
            key=pair.key,
            rule=pair.name,
            subject=canary.name,
            canary=canary.name,
            labels={
                **canary.label_set(),
                **pair.rule.labels,
                "alertname": pair.name,
                "instance": self.instance,
            },
            annotations=pair.rule.annotations,
            opened=at,
            evidence=evidence,
        )

    def _builtin(self, rule: str, subject: str, message: str, now: float) -> Incident:
        return Incident(
            key=incident_key(self.instance, rule, subject),
            rule=rule,
            subject=subject,
            labels={**LABELS, "subject": subject, "alertname": rule, "instance": self.instance},
            annotations=BUILTIN[rule],
            opened=now,
            evidence=Evidence(message=scrub(message, limit=300)),
        )

    # ---- from incidents to notices

    def _open(self, draft: Draft, incident: Incident, now: float) -> None:
        """Open ``incident`` and its group, and have the group announced; nothing if it is open already."""
        before = draft.incidents.get(incident.key)
        if before is not None:
            if before.firing:
                return
            if incident.opened <= before.opened:  # the clock was set back; no id of a notice may come twice
                incident = msgspec.structs.replace(incident, opened=before.opened + 0.001)
        draft.put(incident)
        group = Group(
            key=group_key(self.instance, incident.rule, incident.subject),
            members=(incident.key,),
            receivers=self._told(incident),
            opened=incident.opened,
        )
        draft.put(group)
        outbox.announce(draft, group, (incident,), self._edges(group.receivers), now)

    def _close(self, draft: Draft, key: str, at: float, reason: str, now: float) -> None:
        """Resolve the incident and its group, and have the group called off; nothing if it is not open."""
        incident = draft.incidents.get(key)
        if incident is None or not incident.firing:
            return
        incident = msgspec.structs.replace(incident, resolved=max(at, incident.opened), reason=reason)
        draft.put(incident)
        for group in list(draft.groups.values()):
            if group.firing and key in group.members:  # its own key may be of another instance's making
                over = msgspec.structs.replace(group, resolved=incident.resolved)
                draft.put(over)
                outbox.call_off(draft, over, (incident,), self._edges(over.receivers), now)

    def _told(self, incident: Incident) -> tuple[str, ...]:
        """Return who is told of ``incident``: for a failing receiver the others of its route, or else all others."""
        routed = receivers_for(self._routes, incident.labels)
        if incident.rule != RECEIVER_FAILING:
            return routed
        others = tuple(name for name in routed if name != incident.subject)
        return others or tuple(name for name in self.receivers if name != incident.subject)

    def _edges(self, receivers: tuple[str, ...]) -> list[str]:
        return [name for name in receivers if name in self._edge]

    def _answered(self, draft: Draft, receiver: str, answer: Answer, about: set[str], now: float) -> None:
        """Say that ``receiver`` fails, or no longer does; a notice about a failing receiver never begets another."""
        if isinstance(answer, Accepted):
            self._close(draft, self.receiver_key(receiver), now, "it accepts notifications again", now)
        elif isinstance(answer, Refused) and RECEIVER_FAILING not in about:
            self._open(draft, self._builtin(RECEIVER_FAILING, receiver, answer.reason, now), now)

    # ---- with the passing of time and configurations

    def _reconcile(self, draft: Draft, now: float) -> None:
        """Bring a state that another configuration left behind into line with this one."""
        for key in list(draft.detectors):
            if key not in self.pairs:
                draft.remove("detectors", key)
        for notice in list(draft.notices.values()):
            if notice.receiver not in self._edge:
                draft.remove("notices", notice.id)
        for incident in list(draft.incidents.values()):
            if incident.firing and (reason := self._orphaned(incident)):
                self._close(draft, incident.key, now, reason, now)
        for group in list(draft.groups.values()):
            if group.firing:
                self._reroute(draft, group, now)

    def _orphaned(self, incident: Incident) -> str | None:
        """Return why nothing could ever resolve ``incident`` under this configuration; ``None`` if something can.

        What resolves it looks for it under a key of this engine's own, so that is what counts.
        """
        if incident.key in self.pairs or incident.key == self.store_key:
            return None
        if incident.labels.get("instance") != self.instance:
            return f"the instance is now called {self.instance}"
        if incident.rule == RECEIVER_FAILING:
            return None if incident.subject in self.receivers else "the receiver was removed from the configuration"
        if incident.rule not in self._rules:
            return "the rule was removed from the configuration"
        return "the canary was removed from the configuration, or the rule no longer matches it"

    def _reroute(self, draft: Draft, group: Group, now: float) -> None:
        """Have receivers that a route now names told of ``group``; those told before are told when it is over.

        A page that a receiver refused may find it mended.
        """
        members = tuple(draft.incidents[key] for key in group.members if key in draft.incidents)
        if not members:
            draft.remove("groups", group.key)
            return
        kept = [name for name in group.receivers if name in self.receivers]
        routed = {name: None for member in members for name in self._told(member)}
        receivers = tuple(dict.fromkeys([*kept, *routed]))
        if receivers != group.receivers:
            group = msgspec.structs.replace(group, receivers=receivers)
            draft.put(group)
        new = [name for name in self._edges(receivers) if name not in kept]
        outbox.announce(draft, group, members, new, now)
        outbox.try_again(draft, group, routed, now)

    def _tidy(self, draft: Draft, now: float) -> None:
        """Forget what is over, a week later."""
        outbox.expire(draft, now)
        for incident in list(draft.incidents.values()):
            if incident.resolved is not None and now - incident.resolved > outbox.KEPT:
                draft.remove("incidents", incident.key)
        for group in list(draft.groups.values()):
            if group.resolved is not None and now - group.resolved > outbox.KEPT:
                draft.remove("groups", group.key)
