"""Evaluates runs: from an outcome to samples of the rules, and from samples to incidents."""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec

from streamcanary.alerting.builtin_rules import BEHIND_SCHEDULE, BUDGET_EXHAUSTED, CANARY_EGRESS_DOWN
from streamcanary.alerting.detectors import StreamDetector
from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.engine.evaluation.members import Members
from streamcanary.alerting.engine.evaluation.reachability import (
    Reachability,
    detect_egress_outage,
    find_unreachable,
    update_reachability,
    with_previous_model,
)
from streamcanary.alerting.engine.evaluation.samples import (
    ANSWERED,
    OUTCOMES_WITHOUT_SAMPLE,
    Sample,
    adverse_value,
    sample_of,
)
from streamcanary.alerting.engine.incidents import Incidents
from streamcanary.alerting.engine.state import BindingState, Draft
from streamcanary.model.alerts.incident import MAX_REPLICAS, Incident
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import BudgetState, Outcome
from streamcanary.model.redaction.redactor import scrub

_BUDGET_DELAY: Final = 10.0  # seconds
_EXAMINED_RUNS: Final = 200  # of one run of each canary, after which all canaries are examined
_ON_SCHEDULE_AFTER: Final = 120.0  # seconds without a run that was behind schedule, of any replica


class RunEvaluator:
    """Evaluates the runs of ``canaries`` under one configuration."""

    def __init__(self, bindings: Bindings, incidents: Incidents, canaries: Sequence[Canary]) -> None:
        self._bindings = bindings
        self._incidents = incidents
        self._canaries = tuple(canaries)
        # Of the alerts about the daemon that each run may open or close: a key takes longer than all else about them.
        self._budget_key = bindings.key_for(BUDGET_EXHAUSTED, "budget")
        self._schedule_key = bindings.key_for(BEHIND_SCHEDULE, "schedule")
        self._egress_key = bindings.key_for(CANARY_EGRESS_DOWN, "egress")

    def on_run(self, draft: Draft, outcome: Outcome, now: float) -> None:
        """Evaluate a run that has ended. A run of an unknown canary has no effect."""
        canary = self._bindings.canaries.get(outcome.canary)
        if canary is None:
            return
        at = outcome.started + outcome.duration
        before = draft.reachability.get(canary.identity)
        outcome = with_previous_model(outcome, before)
        reachability = update_reachability(before, outcome)
        if reachability is not None and reachability is not before:
            draft.put_reachability(canary.identity, reachability)
        if reachability is not None and outcome.kind not in OUTCOMES_WITHOUT_SAMPLE:
            self._check_egress(draft, outcome, before, reachability, now)
        diagnosis = reachability.diagnosis if reachability is not None else ""
        for each in self._bindings.sample_bindings(outcome.canary):
            binding = self._bindings.with_baseline(each, draft.baselines)
            limit = binding.learned_limit(canary, at)
            sample = sample_of(binding.rule, outcome, limit)
            if sample is Sample.NEUTRAL and self._resolves_unknown(draft, binding, outcome):
                sample = Sample.GOOD
            if binding.detector is not None and (sample is Sample.GOOD or sample is Sample.BAD):
                text = _member_diagnosis(binding, outcome.canary, diagnosis)
                run = _Run(outcome, sample is Sample.BAD, at, text, limit)
                self._apply_sample(draft, binding, binding.detector, run, now)
        self._check_budget(draft, outcome, at, now)
        self._check_schedule(draft, outcome, at, now)
        if outcome.kind not in OUTCOMES_WITHOUT_SAMPLE:
            for binding in self._bindings.no_data_bindings(outcome.canary):
                if draft.is_assumed_firing(binding.key):
                    draft.put_binding_state(binding.key, BindingState())
                self._incidents.close(draft, binding.key, at, "the canary reports results again", now)

    @staticmethod
    def _resolves_unknown(draft: Draft, binding: Binding, outcome: Outcome) -> bool:
        """Return whether ``outcome`` is evidence that an alert is over of which the rule itself cannot say so.

        For an alert about a change, what is usual is not known after a data loss, or when another request is sent. The
        alert would then stay open for a day, until it is learned again; an answer is no reason to keep it. Nor is it a
        reason to assume any longer that an alert fired before a data loss, if it has no value that could have been
        beyond the limit: a connection without TLS has no certificate.
        """
        incident = draft.incidents.get(binding.key)
        is_firing, is_assumed = incident is not None and incident.is_firing, draft.is_assumed_firing(binding.key)
        if binding.rule.detector.type == "shift":
            fires = (is_firing or is_assumed) and binding.baseline is None
            return fires and adverse_value(binding.rule.measure, outcome) is not None
        return is_assumed and not is_firing and outcome.kind in ANSWERED

    def on_diagnosis(self, draft: Draft, name: str, diagnosis: str) -> None:
        """Store the diagnosis of a preflight for later incidents, and in open incidents that have none."""
        canary = self._bindings.canaries.get(name)
        reachability = draft.reachability.get(canary.identity) if canary else None
        if canary is None or reachability is None:
            return
        diagnosis = scrub(diagnosis, limit=300)
        draft.put_reachability(canary.identity, msgspec.structs.replace(reachability, diagnosis=diagnosis))
        for binding in self._bindings.sample_bindings(name):
            incident = draft.incidents.get(binding.key)
            if incident is not None and incident.is_firing and not incident.evidence.diagnosis:
                text = _member_diagnosis(binding, name, diagnosis)
                evidence = msgspec.structs.replace(incident.evidence, diagnosis=text)
                draft.put(msgspec.structs.replace(incident, evidence=evidence))

    def _apply_sample(self, draft: Draft, binding: Binding, detector: StreamDetector, run: "_Run", now: float) -> None:
        before = draft.detectors.get(binding.key) or BindingState()
        incident = draft.incidents.get(binding.key)
        firing = incident is not None and incident.is_firing
        bad, at = run.is_bad, run.at
        result = detector.feed(before.detector, bad=bad, at=at, firing=firing)
        counts = result.counts
        if incident is not None and firing:
            counts = before.continue_counts(incident, bad=bad, at=at)
        evidence_log = before.evidence_log.record(
            binding.rule, run.outcome, bad=bad, at=at, since=counts.since, limit=run.limit
        )
        members = before.members
        if binding.is_wide:
            members = members.record(run.outcome.canary, bad=bad, at=at, since=counts.since, normal=binding.normal)
        assumed_firing = before.assumed_firing
        if assumed_firing is not None:  # a new incident replaces the one of before the data loss
            assumed_firing = None if result.is_firing else assumed_firing.feed(detector, bad=bad, at=at)
        kept_counts = counts if result.is_firing else None
        after = BindingState(result.state, evidence_log, kept_counts, assumed_firing, members)
        draft.put_binding_state(binding.key, after)
        if result.is_firing and not firing:
            evidence = evidence_log.evidence(counts, run.diagnosis)
            if binding.is_wide:
                evidence = members.add_to(evidence)
            opened = self._bindings.incident_of(binding, at, evidence, result.state)
            if not bad and self._recovered_wider(draft, opened, now) is not None:
                self._forget_failures(draft, binding, at)  # the samples are only now enough, and the outage is over
            else:
                self._incidents.open(draft, opened, now)
        elif incident is not None and firing and not result.is_firing:
            draft.put(msgspec.structs.replace(after, counts=counts).update_evidence(incident))
            self._incidents.close(draft, binding.key, at, result.counts.resolve_reason, now)
            self._close_narrower(draft, binding, members, at, now)
        elif incident is not None and firing and not bad:
            self._close_with_wider(draft, binding, incident, at, now)

    def _close_narrower(self, draft: Draft, binding: Binding, members: Members, at: float, now: float) -> None:
        """Resolve the narrower alerts that the pooled one of ``binding``, which has recovered at ``at``, had muted.

        Each would need as many good runs as the pooled alert, of its own canary alone. Meanwhile a single failure, as
        is normal, would be notified as another outage. A canary that is down, without a good run since the outage began
        or in the last three, stays as it is until its next one.
        """
        if not binding.is_wide:
            return
        names = {canary.name for canary in binding.canaries}
        down = members.down
        narrower = {other.key: other for name in names for other in self._bindings.sample_bindings(name)}
        for key, other in narrower.items():
            own = {canary.name for canary in other.canaries}
            incident = draft.incidents.get(key)
            if incident is not None and incident.is_firing and own < names and not own <= down:
                self._close_with_wider(draft, other, incident, at, now)

    def _close_with_wider(self, draft: Draft, binding: Binding, incident: Incident, at: float, now: float) -> None:
        """Resolve the firing ``incident``, which no receiver has, if it is of an outage whose wider alert is over.

        Its detector forgets the failures of the outage, so that a canary that still fails fires again as soon as any
        other. An alert that waited for the wider one is in its group, but no receiver has it.
        """
        wider = None if _is_notified(draft, incident) else self._recovered_wider(draft, incident, now)
        if binding.detector is not None and wider is not None:
            self._forget_failures(draft, binding, at)
            self._incidents.close(draft, binding.key, at, f"{wider.subject} recovered", now)

    def _recovered_wider(self, draft: Draft, incident: Incident, now: float) -> Incident | None:
        """Return the wider alert of the outage during which ``incident`` opened, if it is over."""
        for other in map(draft.incidents.get, self._bindings.inhibition.of(incident.key).any_of):
            if (
                other is not None
                and other.rule == incident.rule
                and other.resolved is not None
                and other.first_bad_at <= incident.opened <= other.resolved <= now
            ):
                return other
        return None

    @staticmethod
    def _forget_failures(draft: Draft, binding: Binding, at: float) -> None:
        if binding.detector is not None:
            state = draft.detectors.get(binding.key) or BindingState()
            detector = binding.detector.forget_failures(state.detector, at)
            state = msgspec.structs.replace(state, detector=detector, counts=None, members=Members())
            draft.put_binding_state(binding.key, state)

    def _check_budget(self, draft: Draft, outcome: Outcome, at: float, now: float) -> None:
        """Open or close ``BudgetExhausted`` by the budget state of a run. A run without cost has no effect.

        Replicas that share a budget see some seconds apart that it is spent, or that another day has begun.
        """
        delay = _BUDGET_DELAY if outcome.replica else 0.0
        known = draft.incidents.get(self._budget_key)
        if outcome.budget is BudgetState.EXHAUSTED:
            if known is not None and known.resolved is not None and abs(outcome.started - known.resolved) < delay:
                return
            incident = self._bindings.daemon_incident(BUDGET_EXHAUSTED, "budget", "the daily budget is spent", now)
            self._incidents.open(draft, incident, now)
            return
        is_within = outcome.budget is BudgetState.WITHIN or (
            outcome.budget is None and outcome.kind not in OUTCOMES_WITHOUT_SAMPLE
        )
        # a run that started before the budget was spent does not show that it is available again
        if is_within and (known is None or not outcome.started - delay < known.opened <= now + delay):
            self._incidents.close(draft, self._budget_key, at, "canaries run again", now)

    def _check_schedule(self, draft: Draft, outcome: Outcome, at: float, now: float) -> None:
        """Open or close ``BehindSchedule`` by whether the daemon that made a run was too slow for all its runs.

        Of several replicas, it is about those that are too slow, and is over when none of them has been so for two
        minutes. After a restart it stays open as long.
        """
        if outcome.behind_schedule:
            draft.last_behind = at
            of_replica = f"replica {outcome.replica}: " if outcome.replica else ""
            message = (
                f"{of_replica}a run of {outcome.canary} was {max(0.0, outcome.started - outcome.scheduled):.1f} s late"
            )
            if outcome.reason == "behind_schedule":
                message += ", and was skipped"
            self._incidents.open(draft, self._bindings.daemon_incident(BEHIND_SCHEDULE, "schedule", message, now), now)
        elif outcome.kind not in OUTCOMES_WITHOUT_SAMPLE:
            behind = max(draft.last_behind, draft.running_since)
            if not behind <= at < behind + _ON_SCHEDULE_AFTER:
                self._incidents.close(draft, self._schedule_key, at, "all runs are made on time again", now)

    def _check_egress(
        self, draft: Draft, outcome: Outcome, before: Reachability | None, reachability: Reachability, now: float
    ) -> None:
        """Open or close ``CanaryEgressDown`` after a run that has reached a host or none.

        Of several replicas, it is about those that reach no host, and is over when none of these is left: they reach a
        host, or others run their canaries.
        """
        incident = draft.incidents.get(self._egress_key)
        if incident is not None and incident.is_firing:
            if not reachability.unreachable_runs:
                self._check_egress_recovery(draft, incident, before, reachability, now)
                return
            if not reachability.replica or reachability.replica in incident.evidence.replicas:
                return
        if not reachability.unreachable_runs or not self._is_examined(outcome):
            return
        outage = detect_egress_outage(self._canaries, draft.reachability, reachability.replica)
        if outage is None:
            return
        opened = self._bindings.daemon_incident(CANARY_EGRESS_DOWN, "egress", outage.message, now)
        replicas = (outage.replica,) if outage.replica else ()
        if incident is not None and incident.is_firing:  # another replica has lost its egress, too
            replicas = (*incident.evidence.replicas, *replicas)[:MAX_REPLICAS]
            draft.put(_with_replicas(incident, replicas))
            return
        evidence = msgspec.structs.replace(opened.evidence, since=outage.since, replicas=replicas)
        self._incidents.open(draft, msgspec.structs.replace(opened, evidence=evidence), now)

    def _is_examined(self, outcome: Outcome) -> bool:
        """Return whether all canaries are examined for an egress outage after this run.

        Of many canaries it is done after some of the runs, the same ones at each evaluation: in an outage of all, it
        would otherwise take more than a core.
        """
        count = len(self._canaries)
        return count <= _EXAMINED_RUNS or crc32(outcome.run_id.encode("utf-8", "replace")) % count < _EXAMINED_RUNS

    def _check_egress_recovery(
        self,
        draft: Draft,
        incident: Incident,
        before: Reachability | None,
        reachability: Reachability,
        now: float,
    ) -> None:
        """Close the firing ``incident`` after a run that has reached a host, unless it is about other replicas."""
        replicas = incident.evidence.replicas
        if replicas and reachability.replica not in replicas and (before is None or before.replica not in replicas):
            return
        others = frozenset(replicas) - {reachability.replica}
        remaining = find_unreachable(self._canaries, draft.reachability, others) if others else frozenset()
        if not remaining:
            self._incidents.close(draft, incident.key, reachability.last_seen, "a host is reachable again", now)
        elif len(remaining) < len(replicas):
            draft.put(_with_replicas(incident, tuple(name for name in replicas if name in remaining)))


def _with_replicas(incident: Incident, replicas: tuple[str, ...]) -> Incident:
    return msgspec.structs.replace(incident, evidence=msgspec.structs.replace(incident.evidence, replicas=replicas))


class _Run(msgspec.Struct, frozen=True):
    """A run as a sample of a rule: it ended at ``at`` (seconds since the epoch).

    ``diagnosis`` is that of its canary, ``limit`` the learned one of a ``shift`` detector.
    """

    outcome: Outcome
    is_bad: bool
    at: float
    diagnosis: str
    limit: float | None


def _is_notified(draft: Draft, incident: Incident) -> bool:
    groups = draft.groups_containing(incident.key)
    return any(group.is_firing and incident.key in group.notified_members for group in groups)


def _member_diagnosis(binding: Binding, canary: str, diagnosis: str) -> str:
    """Return the diagnosis as the alert of ``binding`` shows it: a pooled alert says of which canary it is."""
    return f"{canary}: {diagnosis}" if diagnosis and binding.is_wide else diagnosis
