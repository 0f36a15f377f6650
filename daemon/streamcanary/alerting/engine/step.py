"""The alert engine: one pure ``step`` from a state and an input to the next state, and the rows that change."""

from collections.abc import Sequence

import msgspec

from streamcanary.alerting.builtin_rules import (
    ABOUT_US,
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    RECEIVER_FAILING,
    STORE_FAILING,
)
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.detectors import Judge
from streamcanary.alerting.detectors.base import Tally
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.bindings import Pair, Pairs
from streamcanary.alerting.engine.evidence import Trail
from streamcanary.alerting.engine.groups import Groups
from streamcanary.alerting.engine.inputs import (
    Answered,
    Diagnosed,
    FromParts,
    Input,
    LevelAnswered,
    Ran,
    Silenced,
    Started,
    StoreFailed,
    StoreRecovered,
    Tick,
    Trying,
    Unsilenced,
)
from streamcanary.alerting.engine.reachability import blackout, sight
from streamcanary.alerting.engine.reconciliation import Recall
from streamcanary.alerting.engine.samples import UNSEEN, Sample, sample_of
from streamcanary.alerting.engine.state import Draft, State, Watch
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer, Retry
from streamcanary.model.alerts.incident import Evidence, Incident
from streamcanary.model.alerts.row_change import Row
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.outcome import BudgetStanding, Outcome

ASLEEP = 30.0
"""Seconds between two ticks after which the daemon was asleep, or the clock has jumped: nothing is missed then."""


class Engine:
    """The configuration, and the steps that follow from it. It has no state of its own."""

    def __init__(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        self.instance = instance
        self.pairs = Pairs(config.rulebook, instance, canaries, config.receivers)
        self.receivers = config.receivers
        self._rules = config.rulebook
        self._canaries = tuple(canaries)
        self.groups = Groups(config, instance, self.pairs.explaining)
        self._recall = Recall(self.pairs, self.groups)

    def step(self, state: State, input: Input, now: float) -> tuple[State, tuple[Row, ...]]:  # noqa: A002
        """Return the state after ``input`` at ``now`` (seconds since the epoch), and the rows in which it differs.

        The rows of one step belong into one transaction, and what they ask to be sent is sent after it.
        """
        draft = Draft(state)
        match input:
            case Ran(outcome):
                self._ran(draft, outcome, now)
            case Diagnosed(canary, finding):
                self._diagnosed(draft, canary, finding)
            case Silenced(silence):
                draft.put(silence)
            case Unsilenced(id):
                draft.remove("silences", id)
                self._review(draft, now)
            case Started(incomplete):
                self._started(draft, now, incomplete=incomplete)
            case Tick():
                self._tick(draft, now)
            case _:
                self._served(draft, input, now)
        return draft.finish()

    def _served(self, draft: Draft, input: FromParts, now: float) -> None:  # noqa: A002
        """Take what senders and the store have to say."""
        match input:
            case Trying(notice):
                notification_queue.begin(draft, notice, now)
            case Answered(notice, answer, luck):
                settled = notification_queue.settle(draft, notice, answer, luck, now)
                if settled is not None and (
                    not isinstance(answer, Retry) or notification_queue.is_failing(settled, now)
                ):
                    about = {member.rule for member in settled.members}
                    self._answered(draft, settled.receiver, answer, about, now)
            case LevelAnswered(receiver, answer):
                self._answered(draft, receiver, answer, set(), now)
            case StoreFailed(reason):
                self._open(draft, self.pairs.ours(STORE_FAILING, "store", reason, now), now)
            case StoreRecovered():
                self._close(draft, self.store_key, now, "the store is written again", now)

    @property
    def store_key(self) -> str:
        """The key of the incident ``StoreFailing``."""
        return self.pairs.key(STORE_FAILING, "store")

    def receiver_key(self, name: str) -> str:
        """Return the key of the incident ``ReceiverFailing`` of a receiver."""
        return self.pairs.key(RECEIVER_FAILING, name)

    # ---- from runs to incidents

    def _ran(self, draft: Draft, outcome: Outcome, now: float) -> None:
        canary = self.pairs.canaries.get(outcome.canary)
        if canary is None:
            return
        at = outcome.started + outcome.duration
        before = draft.sightings.get(canary.identity)
        sighting = sight(before, outcome)
        if sighting is not None and sighting is not before:
            draft.put_sighting(canary.identity, sighting)
        if sighting is not None and outcome.kind not in UNSEEN:
            self._look_out(draft, lost=bool(sighting.lost), at=at, now=now)
        for pair in self.pairs.sampled(outcome.canary):
            sample = sample_of(pair.rule, outcome)
            if pair.judge is not None and (sample is Sample.GOOD or sample is Sample.BAD):
                self._sampled(draft, pair, pair.judge, outcome, at, now, bad=sample is Sample.BAD)
        self._budgeted(draft, outcome, at, now)
        if outcome.kind not in UNSEEN:
            for pair in self.pairs.expected(outcome.canary):
                self._close(draft, pair.key, at, "it was heard of again", now)

    def _budgeted(self, draft: Draft, outcome: Outcome, at: float, now: float) -> None:
        """Tell whether the budget is spent; what runs for nothing says nothing about it."""
        if outcome.budget is BudgetStanding.EXHAUSTED:
            self._open(draft, self.pairs.ours(BUDGET_EXHAUSTED, "budget", "the budget of the day is spent", now), now)
        elif outcome.budget is BudgetStanding.WITHIN or (outcome.budget is None and outcome.kind not in UNSEEN):
            key = self.pairs.key(BUDGET_EXHAUSTED, "budget")
            incident = draft.incidents.get(key)
            if incident is None or not outcome.started < incident.opened <= now:  # else it was under way already
                self._close(draft, key, at, "canaries run again", now)

    def _sampled(
        self, draft: Draft, pair: Pair, judge: Judge, outcome: Outcome, at: float, now: float, *, bad: bool
    ) -> None:
        watch = draft.detectors.get(pair.key)
        incident = draft.incidents.get(pair.key)
        firing = incident is not None and incident.firing
        verdict = judge.feed(watch and watch.detector, bad=bad, at=at, firing=firing)
        tally = verdict.tally
        if incident is not None and firing:
            tally = _count_on(watch, incident, bad=bad, at=at)
        trail = watch.trail if watch else Trail()
        trail = trail.follow(pair.rule, outcome, bad=bad, at=at, since=tally.since)
        draft.put_watch(pair.key, Watch(verdict.state, trail, bad, tally if verdict.firing else None))
        if verdict.firing and not firing:
            sighting = draft.sightings.get(pair.canary.identity)
            evidence = trail.evidence(tally, sighting.finding if sighting else "")
            self._open(draft, self.pairs.incident(pair, at, evidence), now)
        elif incident is not None and firing and not verdict.firing:
            draft.put(Watch(verdict.state, trail, bad, tally).refresh(incident))
            self._close(draft, pair.key, at, verdict.tally.recovery, now)

    def _diagnosed(self, draft: Draft, name: str, finding: str) -> None:
        """Keep what a preflight found for the pages to come, and for those of alerts that have none yet."""
        canary = self.pairs.canaries.get(name)
        sighting = draft.sightings.get(canary.identity) if canary else None
        if canary is None or sighting is None:
            return
        finding = scrub(finding, limit=300)
        draft.put_sighting(canary.identity, msgspec.structs.replace(sighting, finding=finding))
        for pair in self.pairs.sampled(name):
            incident = draft.incidents.get(pair.key)
            if incident is not None and incident.firing and not incident.evidence.diagnosis:
                evidence = msgspec.structs.replace(incident.evidence, diagnosis=finding)
                draft.put(msgspec.structs.replace(incident, evidence=evidence))

    def _look_out(self, draft: Draft, *, lost: bool, at: float, now: float) -> None:
        """Tell whether it is the way out that is down, after one more run that reached nobody, or somebody."""
        key = self.pairs.key(CANARY_EGRESS_DOWN, "egress")
        incident = draft.incidents.get(key)
        firing = incident is not None and incident.firing
        if firing and not lost:
            self._close(draft, key, at, "a provider was reached again", now)
        elif lost and not firing and (out := blackout(self._canaries, draft.sightings)) is not None:
            incident = self.pairs.ours(CANARY_EGRESS_DOWN, "egress", out.message, now)
            evidence = msgspec.structs.replace(incident.evidence, since=out.since)
            self._open(draft, msgspec.structs.replace(incident, evidence=evidence), now)

    # ---- from incidents to groups

    def _open(self, draft: Draft, incident: Incident, now: float) -> None:
        """Open ``incident`` and have it join its group; nothing if it is open already, or its rule is switched off."""
        before = draft.incidents.get(incident.key)
        if (before is not None and before.firing) or not self._rules[incident.rule].enabled:
            return
        if before is not None and incident.opened <= before.opened:  # the clock was set back; no id may come twice
            incident = msgspec.structs.replace(incident, opened=before.opened + 0.001)
        draft.put(incident)
        if before is None or not self.groups.handed_over(draft, incident, now):
            self.groups.join(draft, incident, self.pairs.names(incident), now)

    def _close(self, draft: Draft, key: str, at: float, reason: str, now: float) -> None:
        """Resolve the incident, and have its group know; nothing if it is not open."""
        incident = draft.incidents.get(key)
        if incident is None or not incident.firing:
            return
        draft.put(msgspec.structs.replace(incident, resolved=max(at, incident.opened), reason=reason))
        self.groups.left(draft, key, now)

    def _answered(self, draft: Draft, receiver: str, answer: Answer, about: set[str], now: float) -> None:
        """Say that ``receiver`` fails, or no longer does; a notice about a failing receiver never begets another."""
        key = self.receiver_key(receiver)
        if isinstance(answer, Accepted):
            failed = draft.incidents.get(key)
            self._close(draft, key, now, "it accepts notifications again", now)
            if failed is not None and failed.firing:
                self.groups.mended(draft, receiver, now)
        elif RECEIVER_FAILING not in about:
            self._open(draft, self.pairs.ours(RECEIVER_FAILING, receiver, answer.reason, now), now)

    # ---- with the passing of time

    def _tick(self, draft: Draft, now: float) -> None:
        if not 0 <= now - draft.ticked <= ASLEEP:
            draft.awake = now
        if now < draft.ticked:
            notification_queue.set_back(draft, draft.ticked - now, now)
        minute = now // 60 != draft.ticked // 60
        draft.ticked = now
        for pair in self.pairs.all_expected:
            incident = draft.incidents.get(pair.key)
            if incident is None or not incident.firing:
                self._miss(draft, pair, now)
        self._review(draft, now)
        if minute and draft.awake != now:  # after a jump of the clock what seems to be old may not be
            self._tidy(draft, now)

    def _miss(self, draft: Draft, pair: Pair, now: float) -> None:
        """Fire if ``pair`` has waited in vain for so many runs; a run may take its time until it is missed."""
        sighting = draft.sightings.get(pair.canary.identity)
        # one from later than now was there before the clock was set back; a run may end a moment after its tick
        seen = max(sighting.at if sighting and sighting.at <= now + ASLEEP else 0.0, draft.awake)
        missed = pair.missing(seen, now)
        if not missed:
            return
        since = sighting.at if sighting else draft.awake
        message = f"{missed} runs that were due have left no result"
        self._open(
            draft, self.pairs.incident(pair, now, Evidence(bad=missed, total=missed, since=since, message=message)), now
        )

    def _review(self, draft: Draft, now: float) -> None:
        """Have what was muted and no longer is told of, and what is due."""
        grouped = {key for group in draft.groups.values() if group.firing for key in group.members}
        for incident in list(draft.incidents.values()):
            if incident.firing and incident.key not in grouped:
                self.groups.join(draft, incident, self.pairs.names(incident), now, look=False)
        for group in list(draft.groups.values()):
            if group.firing:
                self.groups.look(draft, group, now)
        self._recall.look(draft, now)

    def _tidy(self, draft: Draft, now: float) -> None:
        """Forget what is over, a week later, and silences a day later."""
        notification_queue.expire(draft, now)
        for incident in list(draft.incidents.values()):
            if incident.resolved is not None and now - incident.resolved > notification_queue.KEPT:
                draft.remove("incidents", incident.key)
        for group in list(draft.groups.values()):
            ended = group.opened if group.forgotten else group.resolved
            fires = any((one := draft.incidents.get(key)) is not None and one.firing for key in group.members)
            if ended is not None and now - ended > notification_queue.KEPT and not fires:
                draft.remove("groups", group.key)
        for silence in list(draft.silences.values()):
            if now - silence.until > 86400:
                draft.remove("silences", silence.id)

    # ---- with configurations

    def _started(self, draft: Draft, now: float, *, incomplete: bool) -> None:
        """Bring a state that another configuration left behind into line with this one."""
        draft.awake = draft.ticked = now
        if draft.blank or incomplete:
            self._recall.suspect(draft, now, ours=incomplete)
        self._sweep(draft)
        notification_queue.end_again(draft, list(draft.notices.values()), now)
        self._recall.fill_in(draft, now)
        for incident in list(draft.incidents.values()):
            if incident.firing and (reason := self._orphaned(incident)):
                self._close(draft, incident.key, now, reason, now)
            elif (pair := self.pairs.get(incident.key)) is not None and incident.firing:
                self._retitle(draft, pair, incident)
        for group in list(draft.groups.values()):
            if group.firing:
                self.groups.reroute(draft, group, now)
        self._review(draft, now)

    def _retitle(self, draft: Draft, pair: Pair, incident: Incident) -> None:
        """Have an incident that goes on say what the rule and the canary are called now, and go where it says now."""
        anew = self.pairs.incident(pair, incident.opened, incident.evidence)
        if anew != incident:
            draft.put(anew)

    def _sweep(self, draft: Draft) -> None:
        """Forget what is about canaries, rules and receivers that are no more."""
        for key in list(draft.detectors):
            if key not in self.pairs:
                draft.remove("detectors", key)
        for name in list(draft.sightings):
            if name not in self.pairs.identities:
                draft.remove("sightings", name)
        for notice in list(draft.notices.values()):
            if not self.groups.edges([notice.receiver]):
                draft.remove("notices", notice.id)

    def _orphaned(self, incident: Incident) -> str | None:
        """Return why nothing could ever resolve ``incident`` under this configuration; ``None`` if something can.

        What resolves it looks for it under a key of this engine's own, so that is what counts.
        """
        enabled = incident.rule in self._rules and self._rules[incident.rule].enabled
        ours = incident.rule in ABOUT_US and incident.key == self.pairs.key(incident.rule, incident.subject)
        if incident.rule == RECEIVER_FAILING and incident.subject not in self.receivers:
            return "the receiver was removed from the configuration"
        if incident.key in self.pairs or (ours and enabled):
            return None
        if incident.labels.get("instance") != self.instance:
            return f"the instance is now called {self.instance}"
        if not enabled:
            return "the rule was removed from the configuration"
        return "the canary was removed from the configuration, or the rule no longer matches it"


def _count_on(watch: Watch | None, incident: Incident, *, bad: bool, at: float) -> Tally:
    """Return what was counted since the first bad sample of an incident that goes on, after one more."""
    seen = incident.evidence
    last = watch.tally if watch is not None else None
    if last is None:
        last = Tally(seen.bad, seen.total, incident.opened if seen.since is None else seen.since)
    return Tally(last.bad + bad, last.total + 1, min(last.since, at))
