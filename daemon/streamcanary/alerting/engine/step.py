"""The alert engine: a pure ``step`` function from a state and an input to the next state and the changed rows."""

from collections.abc import Sequence

import msgspec

from streamcanary.alerting.builtin_rules import (
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    RECEIVER_FAILING,
    RELOAD_FAILED,
    STORE_FAILING,
)
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.detectors import StreamDetector
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.baselines import adapt_baselines, put_learned
from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.engine.config_change import (
    orphan_reason,
    refresh_metadata,
    remove_stale_rows,
    restart_missing_runs,
)
from streamcanary.alerting.engine.groups import Groups
from streamcanary.alerting.engine.inputs import (
    BaselinesLearned,
    ConfigAccepted,
    ConfigRejected,
    ConfigReloaded,
    DiagnosisFinished,
    Input,
    RunFinished,
    SendFinished,
    SendStarted,
    ServiceInput,
    SilenceCreated,
    SilenceDeleted,
    Started,
    StateReceiverReported,
    StoreFailed,
    StoreRecovered,
    Tick,
)
from streamcanary.alerting.engine.reachability import (
    detect_egress_outage,
    update_reachability,
    with_previous_model,
)
from streamcanary.alerting.engine.reconciliation import Reconciler
from streamcanary.alerting.engine.samples import OUTCOMES_WITHOUT_SAMPLE, Sample, sample_of
from streamcanary.alerting.engine.state import BindingState, Draft, State
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Retry
from streamcanary.model.alerts.incident import Evidence, Incident
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import BudgetState, Outcome
from streamcanary.model.redaction.redactor import scrub

MAX_TICK_GAP = 30.0
"""Longest normal time between two ticks, in seconds.

A longer gap means that the process was suspended or that the clock jumped. ``NoData`` starts counting again then.
"""


_CONFIG_SUBJECT = "config"


class Engine:
    """Computes steps under one configuration. It is stateless: the state is passed in and returned."""

    def __init__(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        self.instance = instance
        self.bindings = Bindings(config.all_rules, instance, canaries, config.receivers)
        self.receivers = config.receivers
        self._rules = config.all_rules
        self._canaries = tuple(canaries)
        self._config_incident_key = self.bindings.key_for(RELOAD_FAILED, _CONFIG_SUBJECT)
        self.groups = Groups(config, instance, self.bindings.inhibited_by)
        self._reconciler = Reconciler(self.bindings, self.groups)

    def step(self, state: State, input: Input, now: float) -> tuple[State, tuple[RowChange, ...]]:  # noqa: A002
        """Return the state after ``input`` at ``now`` (seconds since the epoch), and the changed rows.

        The rows of one step belong in one transaction. New notifications are sent after that transaction.
        """
        draft = Draft(state)
        match input:
            case RunFinished(outcome):
                self._on_run(draft, outcome, now)
            case DiagnosisFinished(canary, diagnosis):
                self._on_diagnosis(draft, canary, diagnosis)
            case SilenceCreated(silence):
                draft.put(silence)
            case SilenceDeleted(id):
                draft.remove("silences", id)
                self._evaluate_groups(draft, now)
            case Started():
                self._on_start(draft, input, now)
            case ConfigReloaded(rescheduled):
                restart_missing_runs(draft, self.bindings, rescheduled, now)
                self._adapt_state(draft, now)
            case BaselinesLearned(baselines):
                put_learned(draft, self.bindings, baselines)
            case Tick():
                self._on_tick(draft, now)
            case _:
                self._on_service_input(draft, input, now)
        return draft.finish()

    def _on_service_input(self, draft: Draft, input: ServiceInput, now: float) -> None:  # noqa: A002
        """Handle the result of a delivery, of a write to the store, or of a reload."""
        match input:
            case SendStarted(id):
                notification_queue.start_send(draft, id, now)
            case SendFinished(id, result, jitter):
                notification = notification_queue.finish_send(draft, id, result, jitter, now)
                if notification is not None and (
                    not isinstance(result, Retry) or notification_queue.is_failing(notification, now)
                ):
                    rules_notified = {member.rule for member in notification.members}
                    self._update_receiver_health(draft, notification.receiver, result, rules_notified, now)
            case StateReceiverReported(receiver, result):
                self._update_receiver_health(draft, receiver, result, set(), now)
            case StoreFailed(reason):
                self._open(draft, self.bindings.daemon_incident(STORE_FAILING, "store", reason, now), now)
            case StoreRecovered():
                self._close(draft, self.store_incident_key, now, "writes to the store succeed again", now)
            case ConfigRejected(reason):
                self._on_rejected_config(draft, reason, now)
            case ConfigAccepted():
                self._close(draft, self._config_incident_key, now, "the configuration file is applied", now)

    @property
    def store_incident_key(self) -> str:
        """The key of the ``StoreFailing`` incident."""
        return self.bindings.key_for(STORE_FAILING, "store")

    def receiver_incident_key(self, name: str) -> str:
        """Return the key of the ``ReceiverFailing`` incident of a receiver."""
        return self.bindings.key_for(RECEIVER_FAILING, name)

    # ---- from runs to incidents

    def _on_run(self, draft: Draft, outcome: Outcome, now: float) -> None:
        canary = self.bindings.canaries.get(outcome.canary)
        if canary is None:
            return
        at = outcome.started + outcome.duration
        before = draft.reachability.get(canary.identity)
        outcome = with_previous_model(outcome, before)
        reachability = update_reachability(before, outcome)
        if reachability is not None and reachability is not before:
            draft.put_reachability(canary.identity, reachability)
        if reachability is not None and outcome.kind not in OUTCOMES_WITHOUT_SAMPLE:
            self._check_egress(draft, unreachable=bool(reachability.unreachable_runs), at=at, now=now)
        for each in self.bindings.sample_bindings(outcome.canary):
            binding = self.bindings.with_baseline(each, draft.baselines)
            limit = binding.learned_limit(canary, at)
            sample = sample_of(binding.rule, outcome, limit)
            if binding.detector is not None and (sample is Sample.GOOD or sample is Sample.BAD):
                bad = sample is Sample.BAD
                self._apply_sample(draft, binding, binding.detector, outcome, at, now, bad=bad, limit=limit)
        self._check_budget(draft, outcome, at, now)
        if outcome.kind not in OUTCOMES_WITHOUT_SAMPLE:
            for binding in self.bindings.no_data_bindings(outcome.canary):
                if draft.is_assumed_firing(binding.key):
                    draft.put_binding_state(binding.key, BindingState())
                self._close(draft, binding.key, at, "the canary reports results again", now)

    def _check_budget(self, draft: Draft, outcome: Outcome, at: float, now: float) -> None:
        """Open or close ``BudgetExhausted`` by the budget state of a run. A run without cost has no effect."""
        if outcome.budget is BudgetState.EXHAUSTED:
            self._open(
                draft,
                self.bindings.daemon_incident(BUDGET_EXHAUSTED, "budget", "the daily budget is spent", now),
                now,
            )
        elif outcome.budget is BudgetState.WITHIN or (
            outcome.budget is None and outcome.kind not in OUTCOMES_WITHOUT_SAMPLE
        ):
            key = self.bindings.key_for(BUDGET_EXHAUSTED, "budget")
            incident = draft.incidents.get(key)
            # a run that started before the budget was spent does not show that it is available again
            if incident is None or not outcome.started < incident.opened <= now:
                self._close(draft, key, at, "canaries run again", now)

    def _apply_sample(
        self,
        draft: Draft,
        binding: Binding,
        detector: StreamDetector,
        outcome: Outcome,
        at: float,
        now: float,
        *,
        bad: bool,
        limit: float | None,
    ) -> None:
        before = draft.detectors.get(binding.key) or BindingState()
        incident = draft.incidents.get(binding.key)
        firing = incident is not None and incident.is_firing
        result = detector.feed(before.detector, bad=bad, at=at, firing=firing)
        counts = result.counts
        if incident is not None and firing:
            counts = before.continue_counts(incident, bad=bad, at=at)
        evidence_log = before.evidence_log.record(
            binding.rule, outcome, bad=bad, at=at, since=counts.since, limit=limit
        )
        assumed_firing = before.assumed_firing
        if assumed_firing is not None:  # a new incident replaces the one of before the data loss
            assumed_firing = None if result.is_firing else assumed_firing.feed(detector, bad=bad, at=at)
        draft.put_binding_state(
            binding.key, BindingState(result.state, evidence_log, counts if result.is_firing else None, assumed_firing)
        )
        if result.is_firing and not firing:
            reachability = draft.reachability.get(binding.canary.identity)
            evidence = evidence_log.evidence(counts, reachability.diagnosis if reachability else "")
            self._open(draft, self.bindings.canary_incident(binding, at, evidence, result.state), now)
        elif incident is not None and firing and not result.is_firing:
            draft.put(BindingState(result.state, evidence_log, counts).update_evidence(incident))
            self._close(draft, binding.key, at, result.counts.resolve_reason, now)

    def _on_diagnosis(self, draft: Draft, name: str, diagnosis: str) -> None:
        """Store the diagnosis of a preflight for later incidents, and in open incidents that have none."""
        canary = self.bindings.canaries.get(name)
        reachability = draft.reachability.get(canary.identity) if canary else None
        if canary is None or reachability is None:
            return
        diagnosis = scrub(diagnosis, limit=300)
        draft.put_reachability(canary.identity, msgspec.structs.replace(reachability, diagnosis=diagnosis))
        for binding in self.bindings.sample_bindings(name):
            incident = draft.incidents.get(binding.key)
            if incident is not None and incident.is_firing and not incident.evidence.diagnosis:
                evidence = msgspec.structs.replace(incident.evidence, diagnosis=diagnosis)
                draft.put(msgspec.structs.replace(incident, evidence=evidence))

    def _check_egress(self, draft: Draft, *, unreachable: bool, at: float, now: float) -> None:
        """Open or close ``CanaryEgressDown`` after a run that reached no host (``unreachable``) or reached one."""
        key = self.bindings.key_for(CANARY_EGRESS_DOWN, "egress")
        incident = draft.incidents.get(key)
        firing = incident is not None and incident.is_firing
        if firing and not unreachable:
            self._close(draft, key, at, "a host is reachable again", now)
        elif (
            unreachable
            and not firing
            and (outage := detect_egress_outage(self._canaries, draft.reachability)) is not None
        ):
            incident = self.bindings.daemon_incident(CANARY_EGRESS_DOWN, "egress", outage.message, now)
            evidence = msgspec.structs.replace(incident.evidence, since=outage.since)
            self._open(draft, msgspec.structs.replace(incident, evidence=evidence), now)

    def _on_rejected_config(self, draft: Draft, reason: str, now: float) -> None:
        """Open ``ReloadFailed``; if it is open, replace its message by that of the last file."""
        known = draft.incidents.get(self._config_incident_key)
        incident = self.bindings.daemon_incident(RELOAD_FAILED, _CONFIG_SUBJECT, reason, now)
        if known is None or not known.is_firing:
            self._open(draft, incident, now)
        elif known.evidence.message != incident.evidence.message:
            draft.put(msgspec.structs.replace(known, evidence=incident.evidence))

    # ---- from incidents to groups

    def _open(self, draft: Draft, incident: Incident, now: float) -> None:
        """Open ``incident`` and add it to its group. Do nothing if it is open already, or its rule is disabled."""
        before = draft.incidents.get(incident.key)
        if (before is not None and before.is_firing) or not self._rules[incident.rule].enabled:
            return
        if before is not None and incident.opened <= before.opened:  # the clock was set back; ids must stay unique
            incident = msgspec.structs.replace(incident, opened=before.opened + 0.001)
        draft.put(incident)
        if before is None or not self.groups.transfer(draft, incident, now):
            self.groups.add(draft, incident, self.bindings.key_parts(incident), now)

    def _close(self, draft: Draft, key: str, at: float, reason: str, now: float) -> None:
        """Resolve the incident and update its groups. Do nothing if it is not open."""
        incident = draft.incidents.get(key)
        if incident is None or not incident.is_firing:
            return
        draft.put(msgspec.structs.replace(incident, resolved=max(at, incident.opened), resolve_reason=reason))
        self.groups.on_incident_resolved(draft, key, now)

    def _update_receiver_health(
        self, draft: Draft, receiver: str, result: DeliveryResult, rules_notified: set[str], now: float
    ) -> None:
        """Open or close ``ReceiverFailing`` for ``receiver`` by the result of a delivery.

        A failed notification about ``ReceiverFailing`` opens no further incident, as that would not end. Nor does the
        last delivery to a receiver that a reload has removed.
        """
        if receiver not in self.receivers:
            return
        key = self.receiver_incident_key(receiver)
        if isinstance(result, Accepted):
            incident = draft.incidents.get(key)
            self._close(draft, key, now, "the receiver accepts notifications again", now)
            if incident is not None and incident.is_firing:
                self.groups.on_receiver_recovered(draft, receiver, now)
        elif RECEIVER_FAILING not in rules_notified:
            self._open(draft, self.bindings.daemon_incident(RECEIVER_FAILING, receiver, result.reason, now), now)

    # ---- with time

    def _on_tick(self, draft: Draft, now: float) -> None:
        if not 0 <= now - draft.last_tick <= MAX_TICK_GAP:
            draft.running_since, draft.scheduled_since = now, {}
        if now < draft.last_tick:
            notification_queue.adjust_for_clock_step(draft, draft.last_tick - now, now)
        minute = now // 60 != draft.last_tick // 60
        draft.last_tick = now
        for binding in self.bindings.all_no_data_bindings:
            incident = draft.incidents.get(binding.key)
            if incident is None or not incident.is_firing:
                self._check_no_data(draft, binding, now)
        self._evaluate_groups(draft, now)
        if minute and draft.running_since != now:  # after a clock jump, ages are wrong
            self._prune(draft, now)

    def _check_no_data(self, draft: Draft, binding: Binding, now: float) -> None:
        """Open an incident if the runs of ``binding`` are missing. A run counts as missing only after its timeout."""
        reachability = draft.reachability.get(binding.canary.identity)
        # a later time than now was stored before the clock was set back; a run may end shortly after the tick
        running_since = max(draft.running_since, draft.scheduled_since.get(binding.canary.identity, 0.0))
        last_seen = max(
            reachability.last_seen if reachability and reachability.last_seen <= now + MAX_TICK_GAP else 0.0,
            running_since,
        )
        missed = binding.missing_runs(last_seen, now)
        if not missed:
            return
        since = reachability.last_seen if reachability else running_since
        message = f"{missed} scheduled runs reported no result"
        self._open(
            draft,
            self.bindings.canary_incident(
                binding, now, Evidence(bad=missed, total=missed, since=since, message=message)
            ),
            now,
        )

    def _evaluate_groups(self, draft: Draft, now: float) -> None:
        """Add incidents that are no longer muted to their groups, flush groups that are due, and reconcile."""
        grouped = {key for group in draft.groups.values() if group.is_firing for key in group.members}
        for incident in list(draft.incidents.values()):
            if incident.is_firing and incident.key not in grouped:
                self.groups.add(draft, incident, self.bindings.key_parts(incident), now, evaluate=False)
        for group in list(draft.groups.values()):
            if group.is_firing:
                self.groups.evaluate(draft, group, now)
        self._reconciler.resolve_recovered(draft, now)

    def _prune(self, draft: Draft, now: float) -> None:
        """Remove what ended more than a week ago, and silences that ended more than a day ago."""
        notification_queue.expire(draft, now)
        for incident in list(draft.incidents.values()):
            if incident.resolved is not None and now - incident.resolved > notification_queue.RETENTION:
                draft.remove("incidents", incident.key)
        for group in list(draft.groups.values()):
            ended = group.opened if group.is_reconciling else group.resolved
            is_needed = any(
                (member := draft.incidents.get(key)) is not None and member.is_firing
                for key in (*group.members, *group.possibly_firing)
            ) or self._reconciler.has_observed_member(draft, group)
            if ended is not None and now - ended > notification_queue.RETENTION and not is_needed:
                draft.remove("groups", group.key)
        for silence in list(draft.silences.values()):
            if now - silence.until > 86400:
                draft.remove("silences", silence.id)

    # ---- with a new configuration

    def _on_start(self, draft: Draft, started: Started, now: float) -> None:
        """Adapt a state that was stored under another configuration to this one."""
        draft.running_since = draft.last_tick = now
        draft.scheduled_since = {}
        if draft.was_empty or started.may_be_incomplete:
            self._reconciler.assume_firing(draft, now, include_daemon=started.may_be_incomplete)
        self._reconciler.mark_unreadable(draft, started.unreadable_rows, now)
        self._close(draft, self._config_incident_key, now, "the daemon was started with the configuration file", now)
        self._adapt_state(draft, now)

    def _adapt_state(self, draft: Draft, now: float) -> None:
        """Adapt the state to this configuration, at a start or a reload."""
        remove_stale_rows(draft, self.bindings, self.groups)
        adapt_baselines(draft, self.bindings, now)
        notification_queue.retry_refused_resolves(draft, list(draft.notifications.values()), now)
        self._reconciler.restore_unreadable(draft, now)
        for incident in list(draft.incidents.values()):
            if not incident.is_firing:
                continue
            if reason := orphan_reason(incident, self.bindings, self._rules, self.receivers, self.instance):
                self._close(draft, incident.key, now, reason, now)
            elif (binding := self.bindings.get(incident.key)) is not None:
                binding = self.bindings.with_baseline(binding, draft.baselines)
                refresh_metadata(draft, binding, self.bindings, incident)
        for group in list(draft.groups.values()):
            if group.is_firing:
                self.groups.reroute(draft, group, now)
        self._evaluate_groups(draft, now)
