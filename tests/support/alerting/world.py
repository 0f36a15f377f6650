"""The alert engine with receivers and a configuration that changes: what the stateful test does its steps on."""

from typing import Any

import msgspec
from hypothesis.stateful import RuleBasedStateMachine

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import (
    ConfigReloaded,
    RunFinished,
    SendFinished,
    Started,
    Tick,
)
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.notify.delivery.result import Accepted, Refused, Retry
from streamcanary.model.alerts.incident import Notification
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from support.alerting.builders import EngineHarness, a_fault, a_run, alerts
from support.alerting.config_variants import (
    CANARY_VARIANTS,
    GROUP_BY_VARIANTS,
    MAINTENANCE_VARIANTS,
    RECEIVER_VARIANTS,
    ROUTE_VARIANTS,
    RULE_VARIANTS,
    WEBHOOK_NAMES,
)
from support.alerting.invariants import ReceiverModel, check_inhibitor_is_known, is_silenced

WAIT, INTERVAL, REPEAT, LONGEST_TICK = 10.0, 60.0, 600.0, 30.0
RUNS: dict[str, tuple[OutcomeKind, FaultKind | None]] = {
    "good": (OutcomeKind.OK, None),
    "slow": (OutcomeKind.SLOW, None),
    "bad": (OutcomeKind.FAILED, FaultKind.STALLED),
    "rescued": (OutcomeKind.FAILED_OVER, FaultKind.STALLED),
    "unreachable": (OutcomeKind.FAILED, FaultKind.CONNECT_FAILED),
    "rejected": (OutcomeKind.FAILED, FaultKind.AUTH_FAILED),
    "broken": (OutcomeKind.INTERNAL_ERROR, None),
}
BUDGETS = {"over budget": BudgetState.EXHAUSTED, "slowed": BudgetState.SLOWED}


class AlertingWorld(RuleBasedStateMachine):
    """Some canaries, three receivers that lose responses, and a daemon that is killed at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.variants = {"fleet": "all", "rules": "both", "receivers": "all", "routes": "to all", "groups": "by alert"}
        self.variants["windows"] = "never"
        self.harness = self.create_harness()
        self.harness.step(Started())
        self.receiver_models = {name: ReceiverModel() for name in WEBHOOK_NAMES}
        self.in_flight: dict[str, Notification] = {}
        self.elapsed = 0.0
        self.firing_unmuted_since: dict[tuple[str, float], float] = {}
        self.run_number = 0

    def create_harness(self) -> EngineHarness:
        """Return the engine with its stored rows."""
        return EngineHarness(self.config, *self.fleet)

    @property
    def fleet(self) -> tuple[Canary, ...]:
        """Return the current canaries."""
        return CANARY_VARIANTS[self.variants["fleet"]]

    @property
    def config(self) -> AlertsConfig:
        """Return the current configuration."""
        receivers = RECEIVER_VARIANTS[self.variants["receivers"]]
        return alerts(
            rules={"TargetRejected": {}, "NoData": {}, **RULE_VARIANTS[self.variants["rules"]]},
            receivers=receivers,
            routes=ROUTE_VARIANTS[self.variants["routes"]],
            group_by=GROUP_BY_VARIANTS[self.variants["groups"]],
            group_wait=WAIT,
            group_interval=INTERVAL,
            repeat_interval=REPEAT,
            maintenance=MAINTENANCE_VARIANTS[self.variants["windows"]],
        )

    def _run(self, canary: Canary, how: str) -> None:
        self._step(RunFinished(self._create_run(canary, how)))

    def _create_run(self, canary: Canary, how: str) -> Outcome:
        self.run_number += 1
        at = self.harness.now - 1.0
        run: Outcome
        if how in RUNS:
            kind, fault = RUNS[how]
            first_token = 3.0 if how == "slow" else 0.5
            run = a_run(self.run_number, kind, fault and a_fault(fault), started=at, scheduled=at, duration=0.5)
            run = msgspec.structs.replace(run, time_to_first_token=first_token)
        else:
            reason, budget = ("budget", BUDGETS[how]) if how in BUDGETS else ("overlap", None)
            times = {"started": at, "scheduled": at, "duration": 0.0}
            run = a_run(self.run_number, OutcomeKind.SKIPPED, **times, reason=reason, budget=budget)
        return msgspec.structs.replace(run, canary=canary.name, target=canary.target, provider=canary.provider)

    def _advance(self, seconds: float) -> None:
        self.harness.now += seconds
        self.elapsed += seconds
        self._step(Tick())
        self.check_unmuted_alerts_are_notified_in_time()

    def _answer(self, receiver: str, notification: Notification, how: str) -> None:
        model = self.receiver_models[receiver]
        if how in ("accepted", "lost"):
            model.receive(notification)
        answer = {
            "accepted": Accepted(),
            "lost": Retry(reason="no answer"),
            "failed": Retry(reason="no answer"),
            "limited": Retry(reason="HTTP 429", retry_after=45.0, is_definitely_undelivered=True),
            "refused": Refused("HTTP 400"),
        }[how]
        self._step(SendFinished(notification.id, answer, 0.5))
        if how == "refused":
            model.record_refusal(notification, self.harness.state.notifications.get(notification.id))

    def set_variant(self, part: str, name: str, *, hot: bool = False) -> None:
        receivers, canaries = RECEIVER_VARIANTS[self.variants["receivers"]], self.fleet
        self.variants[part] = name
        for removed in receivers.keys() - RECEIVER_VARIANTS[self.variants["receivers"]].keys():
            if removed in self.receiver_models:
                self.receiver_models[removed].reset()
                self.receiver_models[removed].firing_by_group.clear()
            self.in_flight.pop(removed, None)
        before = {canary.identity: canary.schedule for canary in canaries}
        self.harness.configure(self.config, *self.fleet)
        if hot:
            rescheduled = {each.identity for each in self.fleet if before.get(each.identity) != each.schedule}
            self._step(ConfigReloaded(frozenset(rescheduled)))
            return
        self.in_flight.clear()
        self.harness.crash()
        self._step(Started())

    def _replace_state(self, state: State) -> None:
        """Continue from ``state``, and replace the stored rows by its rows."""
        self.harness.state = state
        for table in self.harness.stored_rows.values():
            table.clear()
        for row in state.rows():
            self.harness.stored_rows[row.table][row.key] = row.value or b""

    def _step(self, received_input: Any) -> None:
        self.harness.step(received_input)
        state, now, groups = self.harness.state, self.harness.now, self.harness.engine.groups
        draft = Draft(state)
        for group in state.groups.values():
            for name in group.possibly_notified if group.is_reconciling else ():
                self.receiver_models[name].mark_resolve_deferred(group)
        firing_unmuted_since = {}
        for incident in state.incidents.values():
            if incident.is_firing and groups._muter.mute_reason(draft, incident, now) is None:
                assert not is_silenced(self.harness.config, state, incident, now)
                key = (incident.key, incident.opened)
                firing_unmuted_since[key] = self.firing_unmuted_since.get(key, self.elapsed)
            elif (
                incident.is_firing
                and not any(silence.is_active(now) for silence in state.silences.values())
                and self.variants["windows"] == "never"
            ):
                check_inhibitor_is_known(self.harness.engine, state, incident)
        self.firing_unmuted_since = firing_unmuted_since

    def check_unmuted_alerts_are_notified_in_time(self) -> None:
        """Assert that each unmuted alert is notified after ``group_wait`` (trigger) or ``group_interval`` (update).

        An alert that a wider one will inhibit waits for both: first the wider one is notified. One that a group which
        opened again does not mute any longer is added at the next tick.
        """
        state = self.harness.state
        for (key, _), since in self.firing_unmuted_since.items():
            containing = [group for group in state.groups.values() if group.is_firing and key in group.members]
            if not containing and since == self.elapsed:
                continue
            assert len(containing) == 1
            limit = (WAIT if containing[0].last_flush is None else INTERVAL) + LONGEST_TICK
            notified = [state.incidents[each] for each in containing[0].notified_members]
            if any(incident.scope and incident.rule == state.incidents[key].rule for incident in notified):
                limit += WAIT + LONGEST_TICK
            assert key in containing[0].notified_members or self.elapsed - since < limit
