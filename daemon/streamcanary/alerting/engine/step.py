"""The alert engine: a pure ``step`` function from a state and an input to the next state and the changed rows."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from streamcanary.alerting.builtin_rules import (
    RECEIVER_FAILING,
    RELOAD_FAILED,
    STORE_FAILING,
)
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.engine.config_change import (
    orphan_reason,
    refresh_members,
    refresh_metadata,
    remove_stale_rows,
    restart_missing_runs,
)
from streamcanary.alerting.engine.evaluation.baselines import adapt_baselines, put_learned
from streamcanary.alerting.engine.evaluation.runs import RunEvaluator
from streamcanary.alerting.engine.former_keys import FormerKeys
from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.grouping.groups import Groups
from streamcanary.alerting.engine.incidents import Incidents
from streamcanary.alerting.engine.inputs import (
    BaselinesLearned,
    ConfigAccepted,
    ConfigRejected,
    ConfigReloaded,
    DiagnosisFinished,
    Input,
    OwnersChanged,
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
from streamcanary.alerting.engine.recovery.reconciliation import Reconciler
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.learning.baseline import LearnedBaseline
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Retry
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.canary import Canary

MAX_TICK_GAP = 30.0
"""Longest normal time between two ticks, in seconds.

A longer gap means that the process was suspended or that the clock jumped. ``NoData`` starts counting again then.
"""


_CONFIG_SUBJECT = "config"


class Engine:
    """Computes steps under one configuration. It is stateless: the state is passed in and returned.

    ``former_keys`` are those of alerts that are open when it takes effect, as in :class:`Bindings`.
    """

    def __init__(
        self,
        config: AlertsConfig,
        instance: str,
        canaries: Sequence[Canary],
        former_keys: FormerKeys = MappingProxyType({}),
    ) -> None:
        self.instance = instance
        self.bindings = Bindings(config.all_rules, instance, canaries, config.receivers, former_keys)
        self.receivers = config.receivers
        self._rules = config.all_rules
        self._config_incident_key = self.bindings.key_for(RELOAD_FAILED, _CONFIG_SUBJECT)
        self.groups = Groups(config, instance, self.bindings.inhibition)
        self._incidents = Incidents(self.bindings, self.groups, config.all_rules)
        self._runs = RunEvaluator(self.bindings, self._incidents, canaries)
        self._reconciler = Reconciler(self.bindings, self.groups)

    def step(self, state: State, input: Input, now: float) -> tuple[State, tuple[RowChange, ...]]:  # noqa: A002
        """Return the state after ``input`` at ``now`` (seconds since the epoch), and the changed rows.

        The rows of one step belong in one transaction. New notifications are sent after that transaction.
        """
        draft = Draft(state)
        match input:
            case RunFinished(outcome):
                self._runs.on_run(draft, outcome, now)
            case DiagnosisFinished(canary, diagnosis):
                self._runs.on_diagnosis(draft, canary, diagnosis)
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
                self._on_baselines(draft, baselines, now)
            case Tick(input_delay):
                self._on_tick(draft, now, input_delay)
            case OwnersChanged(canaries):
                draft.scheduled_since = {**draft.scheduled_since, **dict.fromkeys(canaries, now)}
            case _:
                self._on_service_input(draft, input, now)
        return draft.finish()

    def _on_baselines(self, draft: Draft, baselines: Mapping[str, LearnedBaseline | None], now: float) -> None:
        """Store what was learned, and update what resolves the open alerts that it changes."""
        for binding in put_learned(draft, self.bindings, baselines, now):
            incident = draft.incidents.get(binding.key)
            if incident is not None and incident.is_firing:
                refresh_metadata(draft, binding, self.bindings, incident)

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
                self._incidents.open(draft, self.bindings.daemon_incident(STORE_FAILING, "store", reason, now), now)
            case StoreRecovered():
                self._incidents.close(draft, self.store_incident_key, now, "writes to the store succeed again", now)
            case ConfigRejected(reason):
                self._on_rejected_config(draft, reason, now)
            case ConfigAccepted():
                self._incidents.close(draft, self._config_incident_key, now, "the configuration file is applied", now)

    @property
    def store_incident_key(self) -> str:
        """The key of the ``StoreFailing`` incident."""
        return self.bindings.key_for(STORE_FAILING, "store")

    def receiver_incident_key(self, name: str) -> str:
        """Return the key of the ``ReceiverFailing`` incident of a receiver."""
        return self.bindings.key_for(RECEIVER_FAILING, name)

    def is_receiver_failing(self, state: State, name: str) -> bool:
        """Return whether ``ReceiverFailing`` fires in ``state`` for a receiver."""
        incident = state.incidents.get(self.receiver_incident_key(name))
        return incident is not None and incident.is_firing

    def _on_rejected_config(self, draft: Draft, reason: str, now: float) -> None:
        """Open ``ReloadFailed``; if it is open, replace its message by that of the last file."""
        known = draft.incidents.get(self._config_incident_key)
        incident = self.bindings.daemon_incident(RELOAD_FAILED, _CONFIG_SUBJECT, reason, now)
        if known is None or not known.is_firing:
            self._incidents.open(draft, incident, now)
        elif known.evidence.message != incident.evidence.message:
            draft.put(msgspec.structs.replace(known, evidence=incident.evidence))

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
            known = draft.incidents.get(key)
            self._incidents.close(draft, key, now, "the receiver accepts notifications again", now)
            if known is not None and known.is_firing:
                self.groups.on_receiver_recovered(draft, receiver, now)
        elif RECEIVER_FAILING not in rules_notified:
            self._incidents.open(
                draft, self.bindings.daemon_incident(RECEIVER_FAILING, receiver, result.reason, now), now
            )

    # ---- with time

    def _on_tick(self, draft: Draft, now: float, input_delay: float) -> None:
        if not 0 <= now - draft.last_tick <= MAX_TICK_GAP:
            draft.running_since, draft.scheduled_since = now, {}
        if now < draft.last_tick:
            notification_queue.adjust_for_clock_step(draft, draft.last_tick - now, now)
        minute = now // 60 != draft.last_tick // 60
        draft.last_tick = now
        for binding in self.bindings.all_no_data_bindings:
            incident = draft.incidents.get(binding.key)
            if incident is None or not incident.is_firing:
                self._check_no_data(draft, binding, now, input_delay)
        self._evaluate_groups(draft, now)
        if minute and draft.running_since != now:  # after a clock jump, ages are wrong
            self._prune(draft, now)

    def _check_no_data(self, draft: Draft, binding: Binding, now: float, input_delay: float) -> None:
        """Open an incident if the runs of ``binding`` are missing.

        A run counts as missing only after its timeout, and after the delay with which it may be evaluated.
        """
        [canary] = binding.canaries
        reachability = draft.reachability.get(canary.identity)
        # a later time than now was stored before the clock was set back; a run may end shortly after the tick
        running_since = max(draft.running_since, draft.scheduled_since.get(canary.identity, 0.0))
        last_seen = max(
            reachability.last_seen if reachability and reachability.last_seen <= now + MAX_TICK_GAP else 0.0,
            running_since,
        )
        missed = binding.missing_runs(last_seen, now - input_delay)
        if not missed:
            return
        since = reachability.last_seen if reachability else running_since
        message = f"{missed} scheduled runs reported no result"
        self._incidents.open(
            draft,
            self.bindings.incident_of(binding, now, Evidence(bad=missed, total=missed, since=since, message=message)),
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
        if started.is_config_applied:
            self._incidents.close(
                draft, self._config_incident_key, now, "the daemon was started with the configuration file", now
            )
        self._adapt_state(draft, now)

    def _adapt_state(self, draft: Draft, now: float) -> None:
        """Adapt the state to this configuration, at a start or a reload."""
        remove_stale_rows(draft, self.bindings, self.groups)
        refresh_members(draft, self.bindings)
        adapt_baselines(draft, self.bindings, now)
        notification_queue.retry_refused_resolves(draft, list(draft.notifications.values()), now)
        self._reconciler.restore_unreadable(draft, now)
        for incident in list(draft.incidents.values()):
            if not incident.is_firing:
                continue
            if reason := orphan_reason(incident, self.bindings, self._rules, self.receivers, self.instance):
                # what the alert had muted is added to its group before the group can resolve
                self._incidents.close(draft, incident.key, now, reason, now, evaluate=False)
            elif (binding := self.bindings.get(incident.key)) is not None:
                binding = self.bindings.with_baseline(binding, draft.baselines)
                refresh_metadata(draft, binding, self.bindings, incident)
        for group in list(draft.groups.values()):
            if group.is_firing:
                self.groups.reroute(draft, group, now)
        self._evaluate_groups(draft, now)
